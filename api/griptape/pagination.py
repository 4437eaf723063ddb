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


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page was asked for, and of which size."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


async def _page_query(
    page: Annotated[int, Ge(1), Le(MAX_NUMBER), whole(default=1), Query()] = 1,
    page_size: Annotated[int, Ge(1), at_most(MAX_SIZE), whole(default=DEFAULT_SIZE), Query()] = DEFAULT_SIZE,
) -> PageQuery:
    return PageQuery(page, page_size)


PageDep = Annotated[PageQuery, Depends(_page_query)]


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
        pages = math.ceil(total / page.size)
        return cls(
            page_number=page.number,
            page_size=page.size,
            total_count=total,
            total_pages=pages,
            next_page=page.number + 1 if page.number < pages else None,
            previous_page=min(page.number - 1, pages) or None,
        )
