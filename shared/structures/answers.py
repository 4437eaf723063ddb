"""Which of the Finish events of a run's code is the answer of the run, and which reports were refused."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.orm import Session

from shared.models import FINISH, START, STRUCTURE_RUN_STARTING, Origin, RunEvent

REPORT_REFUSED: Final = "StructureRunReportRefused"
"""The type of the platform's event that tells of a report of a run's code that was not taken."""


@dataclass(frozen=True, slots=True)
class RefusedReport:
    """A report of a run's code that was not taken, as the log tells of it."""

    message: str  # why, for people
    may_hold_output: bool = False  # it was refused unread


@dataclass(frozen=True, slots=True)
class Answer:
    """A Finish event, by its number in the run's log."""

    seq: int
    is_final: bool  # of the run's own structure, not of one that runs inside it


def find_answer(session: Session, run_id: uuid.UUID) -> Answer | None:
    """Return the answer of a held run's present attempt so far, or None if it has none.

    A pipeline whose tasks run agents reports a Finish event of each. The run's own structure is the
    one that was started first; of an attempt that reports no start, every Finish event counts as its
    own, as does one that names no structure.
    """
    query = (
        select(RunEvent.seq, RunEvent.type, RunEvent.payload["structure_id"].astext.label("structure_id"))
        .where(
            RunEvent.run_id == run_id,
            RunEvent.seq > _beginning(run_id),
            RunEvent.origin == Origin.USER,
            RunEvent.type.in_((START, FINISH)),
        )
        .order_by(RunEvent.seq)
    )
    rows = session.execute(query).all()
    own = next((row.structure_id for row in rows if row.type == START), None)
    finished = [row for row in rows if row.type == FINISH]
    finals = [row for row in finished if own is None or row.structure_id in (None, own)]
    if not finished:
        return None
    return Answer((finals or finished)[-1].seq, is_final=bool(finals))


def find_refused(session: Session, run_id: uuid.UUID) -> Sequence[RefusedReport]:
    """Return the reports of a held run's present attempt that were not taken, as far as the log tells."""
    message, may_hold_output = RunEvent.payload["message"], RunEvent.payload["may_hold_output"]
    query = (
        select(message.astext, may_hold_output.as_boolean())
        .where(
            RunEvent.run_id == run_id,
            RunEvent.seq > _beginning(run_id),
            RunEvent.origin == Origin.SYSTEM,
            RunEvent.type == REPORT_REFUSED,
        )
        .order_by(RunEvent.seq)
    )
    return [RefusedReport(*row) for row in session.execute(query)]


def _beginning(run_id: uuid.UUID) -> ScalarSelect[Any]:
    """The number of the event with which a run's present attempt began."""
    return (
        select(func.max(RunEvent.seq))
        .where(
            RunEvent.run_id == run_id,
            RunEvent.origin == Origin.SYSTEM,
            RunEvent.type == STRUCTURE_RUN_STARTING,
        )
        .scalar_subquery()
    )
