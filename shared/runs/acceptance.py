"""The moment from which a run is never lost."""

from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.events import log
from shared.models import Run
from shared.runs.narration import queued


def accept(session: Session, dispatcher: Dispatcher, run: Run, *, name: str, is_sent: bool) -> None:
    """Store a new run and its first event; once that is committed, send it to the workers.

    Args:
        name: of the assistant or the structure, as it is now: readers of the log learn it from there.
        is_sent: False of a run that no worker is to have, or not yet.
    """
    session.add(run)
    session.flush()
    first = queued(run)
    first.payload["name"] = name
    dispatcher.announce(session, log.insert_at(session, run.id, [first], first_seq=0))
    if is_sent:
        dispatcher.enqueue(session, run.id, attempt=1, kind=run.kind)
