"""The moment from which a run is never lost."""

from sqlalchemy.orm import Session

from shared.db import after_commit
from shared.dispatch import Dispatcher
from shared.events import log
from shared.logs import note
from shared.models import Run
from shared.runs.narration import queued


def accept(session: Session, dispatcher: Dispatcher, run: Run, *, name: str, is_sent: bool) -> None:
    """Store a new run and its first event; once that is committed, send it to the workers.

    The event says what readers of the log need and may change later: the name of what is run, the thread.

    Args:
        name: of the assistant or the structure, as it is now.
        is_sent: False of a run that no worker is to have, or not yet.
    """
    session.add(run)
    session.flush()
    run_id = run.id
    after_commit(session, lambda: note(run_id=str(run_id)))
    first = queued(run)
    first.payload["name"] = name
    if run.thread_id is not None:
        first.payload["thread_id"] = str(run.thread_id)
    dispatcher.announce(session, log.insert_at(session, run.id, [first], first_seq=0))
    if is_sent:
        dispatcher.enqueue(session, run.id, attempt=1, kind=run.kind)
