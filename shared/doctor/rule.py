"""What a rule about the rows consists of."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select

Rows = Select[*tuple[Any, ...]]
"""Rows of named columns, whatever these are."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, and a query for the rows of which it does not.

    The query yields `run_id`, and the columns that `message` names.
    """

    name: str
    query: Rows
    message: str
