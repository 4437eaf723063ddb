"""Answers of structure runs: the Finish event that is a run's answer, and the refused reports."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.orm import Session

from shared.events.log import is_of
from shared.lifecycle import EventType
from shared.models import Origin, RunEvent


@dataclass(frozen=True, slots=True)
class RefusedReport:
    """A report of a run's code that was not stored, as its event in the log describes it."""

    message: str  # why, for people
    may_hold_output: bool = False  # the report was refused unread


@dataclass(frozen=True, slots=True)
class Answer:
    """The Finish event that holds a run's answer."""

    seq: int  # its number in the run's log
    is_final: bool  # of the run's own structure, not of one that runs inside it


def find_answer(session: Session, run_id: uuid.UUID) -> Answer | None:
    """Return the answer of a held run's present attempt so far, or None if it has none.

    A pipeline whose tasks run agents reports a Finish event for each agent. The run's own structure is
    the one that started first. Without a Start event, every Finish event counts as the run's own; so
    does a Finish event that names no structure.
    """
    query = (
        select(RunEvent.seq, RunEvent.type, RunEvent.payload["structure_id"].astext.label("structure_id"))
        .where(
            is_of(run_id),
            RunEvent.seq > _beginning(run_id),
            RunEvent.origin == Origin.USER,
            RunEvent.type.in_((EventType.START, EventType.FINISH)),
        )
        .order_by(RunEvent.seq)
    )
    rows = session.execute(query).all()
    own = next((row.structure_id for row in rows if row.type == EventType.START), None)
    finished = [row for row in rows if row.type == EventType.FINISH]
    finals = [row for row in finished if own is None or row.structure_id in (None, own)]
    if not finished:
        return None
    return Answer((finals or finished)[-1].seq, is_final=bool(finals))


def find_refused(session: Session, run_id: uuid.UUID) -> Sequence[RefusedReport]:
    """Return the refused reports of a held run's present attempt, as far as the log names them."""
    message, may_hold_output = RunEvent.payload["message"], RunEvent.payload["may_hold_output"]
    query = (
        select(message.astext, may_hold_output.as_boolean())
        .where(
            is_of(run_id),
            RunEvent.seq > _beginning(run_id),
            RunEvent.origin == Origin.SYSTEM,
            RunEvent.type == EventType.REPORT_REFUSED,
        )
        .order_by(RunEvent.seq)
    )
    return [RefusedReport(*row) for row in session.execute(query)]


def _beginning(run_id: uuid.UUID) -> ScalarSelect[Any]:
    """The number of the first event of a run's present attempt."""
    return (
        select(func.max(RunEvent.seq))
        .where(
            is_of(run_id),
            RunEvent.origin == Origin.SYSTEM,
            RunEvent.type == EventType.STRUCTURE_STARTING,
        )
        .scalar_subquery()
    )
