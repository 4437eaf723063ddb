"""Parts of lists: so many rows from a number on, or those that follow a row wherever it stands meanwhile."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from shared.sizes import without_large

Row = TypeVar("Row")


class Position(NamedTuple):
    """Where a row stands in a list that is ordered by time: new rows do not move it."""

    created_at: datetime
    id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list is wanted."""

    limit: int
    offset: int = 0
    after: Position | None = None
    is_walk: bool = False  # from `after`, or from the beginning: nothing is skipped, and nothing counted


WHOLE: Final = Part(limit=2**31 - 1)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A part of a list, and how much there is beside it."""

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
    is_light: bool = False,
) -> Page[Row]:
    """Return a part of the rows of a table that has `created_at` and `id`, newest first.

    Args:
        is_light: leave large values unloaded.
    """
    table: Any = model
    query = (
        select(model)
        .options(*without_large(table, when=is_light))
        .where(*conditions)
        .order_by(table.created_at.desc(), table.id)
    )
    if part.is_walk:
        if part.after is not None:
            query = query.where(follows(table.created_at, table.id, part.after, descending=(True, False)))
        rows = session.scalars(query.limit(part.limit + 1)).all()
        return Page(rows[: part.limit], None, has_more=len(rows) > part.limit)
    total = session.scalar(select(func.count()).select_from(model).where(*conditions)) or 0
    rows = session.scalars(query.offset(part.offset).limit(part.limit)).all()
    return Page(rows, total, has_more=part.offset + len(rows) < total)


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
