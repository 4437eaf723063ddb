"""Lists by page number (contract: griptape §1.7)."""

import math
from dataclasses import dataclass
from typing import Annotated, Final, Self

from annotated_types import Ge, Le
from fastapi import Depends, Query
from pydantic import BaseModel

from api.griptape.fields import MAX_NUMBER, at_most, optional, whole

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
    def limit(self) -> int | None:
        return None if self.size == EVERYTHING else self.size


async def _page_query(
    page: Annotated[int, Ge(1), Le(MAX_NUMBER), whole(default=1), Query()] = 1,
    page_size: Annotated[int, Ge(1), at_most(MAX_SIZE), whole(default=DEFAULT_SIZE), Query()] = DEFAULT_SIZE,
) -> PageQuery:
    return PageQuery(page, page_size)


async def _whole_page_query(
    page: Annotated[int | None, Ge(1), Le(MAX_NUMBER), whole(default=None), Query()] = None,
    page_size: Annotated[int | None, Ge(1), Le(MAX_NUMBER), whole(default=None), Query()] = None,
) -> PageQuery:
    if page is None and page_size is None:
        return PageQuery(1, EVERYTHING)
    return PageQuery(page or 1, min(page_size or DEFAULT_SIZE, MAX_SIZE))


PageDep = Annotated[PageQuery, Depends(_page_query)]
WholePageDep = Annotated[PageQuery, Depends(_whole_page_query)]
"""A page that holds everything, unless the caller asks for less."""


class Pagination(BaseModel):
    """Where a page is among the others; pages count from 1."""

    page_number: int
    page_size: int
    total_count: int
    total_pages: int
    next_page: int | None = optional()
    previous_page: int | None = optional()

    @classmethod
    def of(cls, page: PageQuery, *, total: int) -> Self:
        size = page.limit or max(total, 1)
        pages = math.ceil(total / size)
        return cls(
            page_number=page.number,
            page_size=size,
            total_count=total,
            total_pages=pages,
            next_page=page.number + 1 if page.number < pages else None,
            previous_page=min(page.number - 1, pages) or None,
        )
