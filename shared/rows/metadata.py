"""Metadata: what callers note of runs, assistants and threads, and how lists find these by it."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists
from sqlalchemy.orm import Session, aliased

from shared.models import Assistant, AssistantMetadata, Base, Run, RunMetadata, Thread, ThreadMetadata

MOST: Final = 16  # keys
LONGEST_KEY: Final = 64  # characters
LONGEST_VALUE: Final = 512  # characters

TABLES: Final[Mapping[type[Base], type[RunMetadata | AssistantMetadata | ThreadMetadata]]] = {
    Run: RunMetadata,
    Assistant: AssistantMetadata,
    Thread: ThreadMetadata,
}
"""Where the pairs of each table are."""


def note(session: Session, row: Run | Assistant | Thread) -> None:
    """Store the pairs by which lists find a new row."""
    table = TABLES[type(row)]
    values: dict[str, Any] = {
        "owner_id": row.id,
        "organization_id": row.organization_id,
        "created_at": row.created_at,
    }
    if isinstance(row, Run):
        values |= {"subject_id": row.subject_id, "kind": row.kind}
    pairs = findable(row.meta or {})
    session.add_all(table(key=key, value=value, **values) for key, value in pairs.items())


def note_anew(session: Session, row: Assistant | Thread) -> None:
    """Replace the pairs by which lists find a row; whoever changes it holds its lock."""
    forget(session, row)
    note(session, row)


def forget(session: Session, row: Assistant | Thread) -> None:
    """Delete the pairs by which lists find a row."""
    table = TABLES[type(row)]
    session.execute(delete(table).where(table.owner_id == row.id))


def findable(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the pairs that lists go by: all of a run or an assistant, and the first short texts of a thread.

    A thread's metadata may be any object; a longer text would not fit into an index.
    """
    short = sorted(
        (key, value)
        for key, value in metadata.items()
        if 0 < len(key) <= LONGEST_KEY and isinstance(value, str) and len(value) <= LONGEST_VALUE
    )
    return dict(short[:MOST])


def holds(
    table: type[RunMetadata | AssistantMetadata | ThreadMetadata],
    organization_id: Any,
    pairs: Mapping[str, str],
) -> list[ColumnElement[bool]]:
    """The conditions that a row of a table is the first of some pairs, and that its owner has the others.

    So a list is read within the index of the first pair, and the others are looked up by their owner.

    Args:
        organization_id: the owner's organization, or the column that has it.
        pairs: one at least.
    """
    (key, value), *others = pairs.items()
    conditions = [table.organization_id == organization_id, table.key == key, table.value == value]
    for key, value in others:
        other = aliased(table)
        has = exists().where(other.owner_id == table.owner_id, other.key == key, other.value == value)
        conditions.append(has)
    return conditions
