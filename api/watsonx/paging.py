"""Slices of this dialect's lists."""

from typing import Annotated, Final

from annotated_types import Ge, Le
from fastapi import Query

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
"""Also what a list without a page of its own is given: its clients would not know to ask for more."""

Limit = Annotated[int, Ge(1), Le(MAX_LIMIT), Query()]
Offset = Annotated[int, Ge(0), Le(2**31 - 1), Query()]
