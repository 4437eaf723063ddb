"""What follows from a transition, once it is committed."""

from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.runs.lifecycle import RunStatus
from shared.runs.transitions import Applied


def follow(session: Session, dispatcher: Dispatcher, applied: Applied) -> None:
    """Tell the readers, and send a run that waits for its next attempt to the workers."""
    dispatcher.announce(session, applied.events)
    if applied.run.status is RunStatus.QUEUED:
        dispatcher.enqueue(session, applied.run.id, attempt=applied.run.attempt + 1)
