"""The moment from which a run is never lost."""

from typing import Final

import orjson
from sqlalchemy.orm import Session

from shared.db import after_commit
from shared.dispatch import Dispatcher
from shared.events import log
from shared.logs import note
from shared.models import Run, RunMetadata
from shared.runs import shares
from shared.runs.narration import queued


def accept(session: Session, dispatcher: Dispatcher, run: Run, *, name: str, is_sent: bool) -> None:
    """Store a new run and its first event; once that is committed, send it to the workers.

    Where tenants have a share of the workers, it is sent when there is room for it. What its caller
    noted of it is stored beside it, to be found by. The event says what readers of the log need and may
    change later: the name of what is run, the thread.

    Args:
        name: of the assistant or the structure, as it is now.
        is_sent: False of a run that no worker is to have, or not yet.
    """
    waits_for_share = is_sent and shares.counts(run, dispatcher.share)
    if waits_for_share:
        run.dispatched_at = None
    run.stored_bytes = _size(run)
    session.add(run)
    session.flush()
    run_id = run.id
    after_commit(session, lambda: note(run_id=str(run_id)))
    session.add_all(
        RunMetadata(
            run_id=run.id,
            key=key,
            value=value,
            organization_id=run.organization_id,
            subject_id=run.subject_id,
            kind=run.kind,
            created_at=run.created_at,
        )
        for key, value in (run.meta or {}).items()
    )
    first = queued(run)
    first.payload["name"] = name
    if run.thread_id is not None:
        first.payload["thread_id"] = str(run.thread_id)
    dispatcher.announce(session, log.insert_at(session, run.id, [first], first_seq=0, attempt=0))
    if waits_for_share:
        dispatcher.enqueue_next(session, run.organization_id)
    elif is_sent:
        dispatcher.enqueue(session, run.id, attempt=1, kind=run.kind)


_ASKED: Final = ("input", "args", "env_vars", "llm_params", "guardrails", "additional_parameters", "meta")


def _size(run: Run) -> int:
    """About how many bytes the row of a new run takes: what its caller asked for, and the rest."""
    asked = [getattr(run, name) for name in _ASKED]
    return ROW + len(orjson.dumps([value for value in asked if value]))


ROW: Final = 512
"""Bytes of a run that has nothing in it."""
