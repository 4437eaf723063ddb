"""How large rows are before they are loaded, so that no list holds more of them than it may."""

import operator
from collections.abc import Collection, Iterable, Sequence
from functools import reduce
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, Row, String, case, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute, Session, defer, object_session
from sqlalchemy.orm.interfaces import ORMOption

from shared.models import Base

SQUEEZE: Final = 260  # times; what PostgreSQL has compressed is no larger than that when it is unpacked


def large_columns(model: type[Base]) -> list[InstrumentedAttribute[Any]]:
    """The columns of a table whose values callers may make as large as a body may be."""
    return [
        getattr(model, attribute.key)
        for attribute in model.__mapper__.column_attrs
        if isinstance(attribute.columns[0].type, String | JSONB | ARRAY)
        and getattr(attribute.columns[0].type, "length", None) is None
    ]


def without_large(model: type[Base], *, when: bool) -> list[ORMOption]:
    """Options of a query that load large values only once they are asked for; none unless `when`."""
    return [defer(column) for column in large_columns(model)] if when else []


def unload(row: Base, *, but: Collection[str] = ()) -> None:
    """Let go of a row's large values, for those who keep it while somebody reads slowly.

    Args:
        but: columns that are still needed.
    """
    session = object_session(row)
    if session is not None:
        session.expire(row, [column.key for column in large_columns(type(row)) if column.key not in but])


def are_small(session: Session, model: type[Base], ids: Sequence[Any], *, most: int) -> bool:
    """Whether rows have at most so many bytes, judged without decompressing any."""
    size = _sum(_at_most(column) for column in large_columns(model))
    total = session.scalar(select(func.coalesce(func.sum(size), 0)).where(_key(model).in_(ids)))
    return int(total or 0) <= most


def batches(session: Session, model: type[Base], ids: Sequence[Any], *, most: int) -> list[list[Any]]:
    """Divide ids, in their order, into batches of so many bytes at the most; a larger row is one alone.

    Args:
        ids: not too many: what is compressed has to be decompressed to be measured.
        most: bytes of text and JSON, as they are sent.
    """
    size = _sum(_as_text(column) for column in large_columns(model))
    rows = session.execute(select(_key(model), size).where(_key(model).in_(ids)))
    sizes = {identifier: int(own) for identifier, own in rows}
    found: list[list[Any]] = []
    left = 0
    for identifier in ids:
        own = sizes.get(identifier, 0)
        if not found or own > left:
            found.append([])
            left = most
        found[-1].append(identifier)
        left -= own
    return found


def load(session: Session, model: type[Base], ids: Sequence[Any]) -> list[Any]:
    """Load rows whole, in the order of their ids; what is gone meanwhile is left out."""
    key = _key(model)
    rows = session.scalars(select(model).where(key.in_(ids)).execution_options(populate_existing=True))
    by_id = {getattr(row, key.key): row for row in rows}
    return [by_id[identifier] for identifier in ids if identifier in by_id]


def load_columns(
    session: Session, model: type[Base], ids: Sequence[Any], *names: str
) -> list[Row[*tuple[Any, ...]]]:
    """Load some columns of rows, in the order of their ids; what is gone meanwhile is left out."""
    key = _key(model)
    columns = [getattr(model, name) for name in names]
    found = {row[0]: row for row in session.execute(select(key, *columns).where(key.in_(ids)))}
    return [found[identifier] for identifier in ids if identifier in found]


def _key(model: type[Base]) -> InstrumentedAttribute[Any]:
    (column,) = model.__mapper__.primary_key
    return getattr(model, model.__mapper__.get_property_by_column(column).key)  # type: ignore[no-any-return]  # ours


def _at_most(column: InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """Bytes of a value at the most, without unpacking it."""
    stored = func.pg_column_size(column)
    return func.coalesce(case((_is_packed(column), stored * SQUEEZE), else_=stored), 0)


def _as_text(column: InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """Bytes of a value as text; one that is packed has to be unpacked for that."""
    text = func.octet_length(column.cast(String))
    return func.coalesce(case((_is_packed(column), text), else_=func.pg_column_size(column)), 0)


def _is_packed(column: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    return func.pg_column_compression(column).is_not(None)


def _sum(parts: Iterable[ColumnElement[int]]) -> ColumnElement[int]:
    return reduce(operator.add, parts)
