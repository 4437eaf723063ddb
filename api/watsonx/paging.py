"""Slices of this dialect's lists: by limit and offset, or from a cursor on."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from annotated_types import Ge, Le
from fastapi import Depends, Query
from sqlalchemy.orm import Session

from api.cursors import Binding, BindingDep, Cursor
from shared.errors import InvalidRequestError
from shared.rows.paging import Page, Part

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
"""Also what a list without a page of its own is given: its clients would not know to ask for more."""

NEXT_CURSOR: Final = "X-Runyard-Next-Cursor"
"""A header of lists that are bare arrays: where to go on."""

Limit = Annotated[int, Ge(1), Le(MAX_LIMIT), Query()]
Offset = Annotated[int, Ge(0), Le(2**31 - 1), Query()]


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list was asked for."""

    limit: int
    offset: int
    cursor: str | None
    binding: Binding

    def part(self, session: Session) -> Part:
        """The part of the list.

        Raises:
            InvalidRequestError: the cursor is none of this list.
        """
        return self.binding.part(session, self.cursor, limit=self.limit, offset=self.offset)

    def next_cursor(self, session: Session, found: Page[Any]) -> str | None:
        """Where to go on after the part; None at the end of the list."""
        return self.binding.after(session, found)

    def headers(self, session: Session, found: Page[Any]) -> dict[str, str]:
        """The same as headers, for a bare array."""
        following = self.next_cursor(session, found)
        return {} if following is None else {NEXT_CURSOR: following}


def _slice(limit: int, offset: int, cursor: str | None, binding: Binding) -> Slice:
    if cursor is not None and offset:
        raise InvalidRequestError("Give an `offset` or a `cursor`, not both.", path=("query", "cursor"))
    return Slice(limit, offset, cursor, binding)


async def _page(
    binding: BindingDep, limit: Limit = DEFAULT_LIMIT, offset: Offset = 0, cursor: Cursor = None
) -> Slice:
    return _slice(limit, offset, cursor, binding)


async def _whole(
    binding: BindingDep, limit: Limit = MAX_LIMIT, offset: Offset = 0, cursor: Cursor = None
) -> Slice:
    return _slice(limit, offset, cursor, binding)


SliceDep = Annotated[Slice, Depends(_page)]
WholeSliceDep = Annotated[Slice, Depends(_whole)]
"""For lists whose clients do not ask for a part: as much as one answer may hold."""
