"""What follows from a transition: in the same transaction, and once it is committed."""

from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.runs.admission import admit_next
from shared.runs.lifecycle import TERMINAL, RunStatus
from shared.runs.transitions import Applied


def follow(session: Session, dispatcher: Dispatcher, applied: Applied) -> None:
    """Tell the readers; send a requeued run to the workers; let the next run have a thread left free."""
    run = applied.run
    dispatcher.announce(session, applied.events)
    if run.status is RunStatus.QUEUED:
        dispatcher.enqueue(session, run.id, attempt=run.attempt + 1)
    if run.status in TERMINAL and run.thread_id is not None and not run.waits_for_thread:
        admit_next(session, dispatcher, run.thread_id)
