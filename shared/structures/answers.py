"""Which of the Finish events that a run's code has reported is the answer of the run."""

import uuid
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.models import FINISH, START, STRUCTURE_RUN_STARTING, Origin, RunEvent


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
    of_run = RunEvent.run_id == run_id
    begun = (
        select(func.max(RunEvent.seq))
        .where(of_run, RunEvent.origin == Origin.SYSTEM, RunEvent.type == STRUCTURE_RUN_STARTING)
        .scalar_subquery()
    )
    query = (
        select(RunEvent.seq, RunEvent.type, RunEvent.payload["structure_id"].astext.label("structure_id"))
        .where(
            of_run, RunEvent.seq > begun, RunEvent.origin == Origin.USER, RunEvent.type.in_((START, FINISH))
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
