"""Pages of lists: by offset, with a count of the whole list, or by position, which new rows do not move."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import Session

from shared.rows.metadata import TABLES, holds
from shared.rows.sizes import without_large

Row = TypeVar("Row")


class Position(NamedTuple):
    """The position of a row in a list ordered by time; new rows do not move it."""

    created_at: datetime
    id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a list to read."""

    limit: int
    offset: int = 0
    after: Position | None = None
    is_walk: bool = False  # from `after`, or from the beginning: nothing is skipped, and nothing counted


WHOLE: Final = Part(limit=2**31 - 1)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list, and the size of the list."""

    rows: Sequence[Row]
    total: int | None  # None of a walk
    has_more: bool

    @property
    def count(self) -> int:
        return self.total or 0


def newest_first(
    session: Session,
    model: type[Row],
    conditions: Sequence[ColumnElement[bool]],
    part: Part,
    *,
    metadata: Mapping[str, str] = MappingProxyType({}),
    is_light: bool = False,
) -> Page[Row]:
    """Return a part of the rows of a table that has `created_at` and `id`, newest first.

    Args:
        metadata: what they have noted, where the table has metadata; then their pairs lead to them, in order.
        is_light: leave large values unloaded.
    """
    table: Any = model
    created_at, identifier = table.created_at, table.id
    query = select(model).where(*conditions)
    if metadata:
        noted: Any = TABLES[table]
        query = query.join(noted, noted.owner_id == identifier)
        query = query.where(*holds(noted, table.organization_id, metadata))
        created_at, identifier = noted.created_at, noted.owner_id
    query = query.order_by(created_at.desc(), identifier)
    if not part.is_walk:
        return paginate(session, query, part, is_light=is_light)
    if part.after is not None:
        query = query.where(follows(created_at, identifier, part.after, descending=(True, False)))
    rows = session.scalars(_loaded(query, is_light=is_light).limit(part.limit + 1)).all()
    return Page(rows[: part.limit], None, has_more=len(rows) > part.limit)


def paginate(session: Session, query: Select[Row], part: Part, *, is_light: bool = False) -> Page[Row]:
    """Return the rows of a query from an offset on, and count all of its rows.

    Args:
        session: the transaction.
        query: of one table, in order.
        part: the offset and the limit.
        is_light: leave large values unloaded.
    """
    count = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    total = session.scalar(count) or 0
    rows = session.scalars(_loaded(query, is_light=is_light).offset(part.offset).limit(part.limit)).all()
    return Page(rows, total, has_more=part.offset + len(rows) < total)


def _loaded(query: Select[Row], *, is_light: bool) -> Select[Row]:
    (column,) = query.column_descriptions
    return query.options(*without_large(column["entity"], when=is_light))


def follows(
    created_at: Any, identifier: Any, position: Position, *, descending: tuple[bool, bool]
) -> ColumnElement[bool]:
    """Whether a row comes after a position.

    The first condition is for the index: the rows of the very same moment are few.

    Args:
        descending: how the list is ordered by time, and then by id.
    """
    by_time, by_id = descending
    moment, own = position
    not_before = created_at <= moment if by_time else created_at >= moment
    after = created_at < moment if by_time else created_at > moment
    beyond = identifier < own if by_id else identifier > own
    return and_(not_before, or_(after, beyond))
