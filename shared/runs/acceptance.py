"""The moment from which a run is never lost."""

from typing import Final

import orjson
from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.events import log
from shared.models import Run
from shared.runs.narration import queued


def accept(session: Session, dispatcher: Dispatcher, run: Run, *, name: str, is_sent: bool) -> None:
    """Store a new run and its first event; once that is committed, send it to the workers.

    The event says what readers of the log need and may change later: the name of what is run, the thread.

    Args:
        name: of the assistant or the structure, as it is now.
        is_sent: False of a run that no worker is to have, or not yet.
    """
    run.stored_bytes = _size(run)
    session.add(run)
    session.flush()
    first = queued(run)
    first.payload["name"] = name
    if run.thread_id is not None:
        first.payload["thread_id"] = str(run.thread_id)
    dispatcher.announce(session, log.insert_at(session, run.id, [first], first_seq=0))
    if is_sent:
        dispatcher.enqueue(session, run.id, attempt=1, kind=run.kind)


_ASKED: Final = ("input", "args", "env_vars", "llm_params", "guardrails", "additional_parameters")


def _size(run: Run) -> int:
    """About how many bytes the row of a new run takes: what its caller asked for, and the rest."""
    asked = [getattr(run, name) for name in _ASKED]
    return ROW + len(orjson.dumps([value for value in asked if value]))


ROW: Final = 512
"""Bytes of a run that has nothing in it."""
