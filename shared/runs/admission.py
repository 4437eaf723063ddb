"""Which run of a thread may go to a worker: one at a time, in the order of their creation.

The thread's row is the lock. Whoever puts a run on a thread, and whoever ends the run that has it,
holds that lock while deciding, so no run is overlooked and no two have the thread. Against
deadlock, the run that has the thread is locked before it, those that wait for it after it, and a run
that ends while it waits takes no lock but its own (the whole order is in `shared.db.Lock`).
"""

import uuid
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared.db import Lock
from shared.dispatch import Dispatcher
from shared.errors import ContendedError
from shared.models import JsonObject, Run, Thread
from shared.runs.lifecycle import ACTIVE, Reason, RunStatus

WAITING: Final = (Run.waits_for_thread, Run.status == RunStatus.QUEUED)
"""A run that waits for its thread. One that has ended meanwhile keeps the mark that it never had it."""


TURNS: Final = 20
"""How often a deletion tries to have a thread with the run that has it, before it says so."""


def lock_thread(session: Session, thread_id: uuid.UUID, *, organization_id: uuid.UUID | None = None) -> bool:
    """Hold a thread until the transaction ends; say whether there is one, in that organization."""
    query = select(Thread.id).where(Thread.id == thread_id).with_for_update(key_share=True)
    if organization_id is not None:
        query = query.where(Thread.organization_id == organization_id)
    return session.scalar(query) is not None


def is_busy(session: Session, thread_id: uuid.UUID) -> bool:
    """Whether a run has the thread, or waits for it. The thread must be locked."""
    on_it = or_(_is_held(thread_id), exists().where(Run.thread_id == thread_id, *WAITING))
    return bool(session.scalar(select(on_it)))


def _is_held(thread_id: uuid.UUID | InstrumentedAttribute[uuid.UUID | None]) -> ColumnElement[bool]:
    holder = aliased(Run)  # in the words of the index that allows only one
    return exists().where(holder.thread_id == thread_id, holder.status.in_(ACTIVE), ~holder.waits_for_thread)


def waiting_detail(thread_id: uuid.UUID) -> JsonObject:
    """What `status_detail` says of a run that waits for its thread."""
    return {
        "reason": Reason.WAITING_FOR_THREAD,
        "message": "An earlier run of its thread has not ended yet.",
        "thread_id": str(thread_id),
    }


def admit_next(session: Session, dispatcher: Dispatcher, thread_id: uuid.UUID) -> uuid.UUID | None:
    """Let the oldest run that waits for a thread have it, if nobody does.

    Returns:
        The run that was admitted, if any.
    """
    lock_thread(session, thread_id)
    oldest = (
        select(Run.id)
        .where(Run.thread_id == thread_id, *WAITING, ~_is_held(thread_id))
        .order_by(Run.created_at, Run.id)
        .limit(1)
    )
    # One that is being cancelled meanwhile is not admitted; the one behind it is looked at then.
    while (run_id := session.scalar(oldest)) is not None:
        if _admit(session, dispatcher, run_id):
            return run_id
    return None


def release_all(session: Session, dispatcher: Dispatcher, thread_id: uuid.UUID) -> None:
    """Take every run off a thread that is about to be deleted; those that wait for it go on.

    The thread stays locked, so that no run comes to it any more.

    Raises:
        ContendedError: runs came and went on it, faster than it could be had.
    """
    for _ in range(TURNS):
        with session.begin_nested() as turn:
            held = set(session.scalars(Lock.CHANGE(_holders(thread_id), Run)))
            session.execute(Lock.REMOVAL(select(Thread.id).where(Thread.id == thread_id), Thread))
            if held.issuperset(session.scalars(_holders(thread_id))):
                break
            turn.rollback()  # another run has got it in between: it comes before the thread
    else:
        raise ContendedError
    waiting = session.scalars(select(Run.id).where(Run.thread_id == thread_id, *WAITING)).all()
    for run_id in waiting:
        _admit(session, dispatcher, run_id, thread_id=None)


def _holders(thread_id: uuid.UUID) -> Select[uuid.UUID]:
    """The run that has a thread, if any."""
    return select(Run.id).where(Run.thread_id == thread_id, Run.status.in_(ACTIVE), ~Run.waits_for_thread)


def find_free_threads_waited_for(session: Session, *, limit: int) -> Sequence[uuid.UUID]:
    """Return threads that runs wait for although nobody has them: a gap nobody should ever find."""
    query = select(Run.thread_id).where(*WAITING, ~_is_held(Run.thread_id)).distinct()
    return [thread_id for thread_id in session.scalars(query.limit(limit)) if thread_id is not None]


def _admit(session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, **values: None) -> bool:
    share = dispatcher.share
    admit = (
        update(Run)
        .where(Run.id == run_id, *WAITING)
        .values(
            waits_for_thread=False,
            dispatched_at=func.now() if share is None else None,
            dispatch_count=0,
            status_detail=None,
            **values,
        )
        .returning(Run.attempt, Run.organization_id)
        .execution_options(synchronize_session=False)
    )
    admitted = session.execute(admit).one_or_none()
    if admitted is None:
        return False
    if share is None:
        dispatcher.enqueue(session, run_id, attempt=admitted.attempt + 1)
    else:
        dispatcher.enqueue_next(session, admitted.organization_id)
    return True
