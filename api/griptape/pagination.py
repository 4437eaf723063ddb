"""Lists by page number, or by a cursor."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

from annotated_types import Ge, Le
from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.cursors import Binding, BindingDep, Cursor
from api.griptape.fields import MAX_NUMBER, at_most, optional, whole
from shared.errors import InvalidRequestError
from shared.rows.paging import Page, Part

DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 1000

EVERYTHING: Final = MAX_NUMBER
"""The size of a page for clients that never ask for a second one."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page was asked for, and of which size."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size

    @property
    def part(self) -> Part:
        return Part(limit=self.size, offset=self.offset)


Number = Annotated[int, Ge(1), Le(MAX_NUMBER), whole(default=1), Query()]
Size = Annotated[int, Ge(1), at_most(MAX_SIZE), whole(default=DEFAULT_SIZE), Query()]


async def _page_query(page: Number = 1, page_size: Size = DEFAULT_SIZE) -> PageQuery:
    return PageQuery(page, page_size)


async def _whole_page_query(
    page: Annotated[int | None, Ge(1), Le(MAX_NUMBER), whole(default=None), Query()] = None,
    page_size: Annotated[int | None, Ge(1), Le(MAX_NUMBER), whole(default=None), Query()] = None,
) -> PageQuery:
    if page is None and page_size is None:
        return PageQuery(1, EVERYTHING)
    return PageQuery(page or 1, min(page_size or DEFAULT_SIZE, MAX_SIZE))


@dataclass(frozen=True, slots=True)
class PartQuery:
    """Which part of a list that grows at its beginning was asked for: a page, or what follows a cursor."""

    page: PageQuery
    cursor: str | None
    binding: Binding

    def part(self, session: Session) -> Part:
        """The part of the list.

        Raises:
            InvalidRequestError: the cursor is none of this list.
        """
        return self.binding.part(session, self.cursor, limit=self.page.size, offset=self.page.offset)

    def pagination(self, session: Session, found: Page[Any]) -> "Pagination | Walk":
        """Where the part is among the others."""
        following = self.binding.after(session, found)
        if found.total is None:
            return Walk(page_size=self.page.size, next_cursor=following)
        pagination = Pagination.of(self.page, total=found.total)
        pagination.next_cursor = following
        return pagination


async def _part_query(
    binding: BindingDep, page: Number = 1, page_size: Size = DEFAULT_SIZE, cursor: Cursor = None
) -> PartQuery:
    if cursor is not None and page != 1:
        raise InvalidRequestError("Give a `page` or a `cursor`, not both.", path=("query", "cursor"))
    return PartQuery(PageQuery(page, page_size), cursor, binding)


PageDep = Annotated[PageQuery, Depends(_page_query)]
PartDep = Annotated[PartQuery, Depends(_part_query)]
WholePageDep = Annotated[PageQuery, Depends(_whole_page_query)]
"""A page that holds everything, unless the caller asks for less."""


class Pagination(BaseModel):
    """The place of a page in the list; pages count from 1."""

    page_number: int
    page_size: int
    total_count: int
    total_pages: int
    next_page: int | None = optional()
    previous_page: int | None = optional()
    next_cursor: str | None = optional()

    @classmethod
    def of(cls, page: PageQuery, *, total: int) -> Self:
        size = max(total, 1) if page.size == EVERYTHING else page.size
        pages = math.ceil(total / size)
        return cls(
            page_number=page.number,
            page_size=size,
            total_count=total,
            total_pages=pages,
            next_page=page.number + 1 if page.number < pages else None,
            previous_page=min(page.number - 1, pages) or None,
        )


class Walk(BaseModel):
    """The place of a page by cursor. Without `next_cursor` it is the last one. Nothing is counted."""

    page_size: int
    next_cursor: str | None = optional()


AnyPagination = Pagination | Walk
"""What says where a part is: by its number, or by a cursor if one was given."""
