"""A rule about the rows."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select

Rows = Select[*tuple[Any, ...]]
"""A query for rows of any named columns."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, with a query for the rows that violate it.

    The query yields `run_id` and the columns that `message` names.
    """

    name: str
    query: Rows
    message: str
