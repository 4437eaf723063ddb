"""Turns: the runs of a thread go to the workers one at a time, in the order of their creation.

The thread's row is the lock: a transaction that puts a run on the thread, or ends the run that has it,
holds the lock while it decides. So no run is overlooked, and no two runs have the thread. Against
deadlock, the run that has the thread is locked before the thread, waiting runs after it, and a run
that ends while it waits locks only itself (the whole order is in `shared.db.Lock`).
"""

import uuid
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared.db import Lock
from shared.dispatch.dispatcher import Dispatcher
from shared.dispatch.shares import owners_of
from shared.errors import ContendedError
from shared.lifecycle import ACTIVE, Reason, RunStatus, StatusDetail
from shared.models import Run, Thread

WAITING: Final = (Run.waits_for_thread, Run.status == RunStatus.QUEUED)
"""The condition of a run that waits for its thread. A run that ends while it waits keeps the mark."""

TURNS: Final = 20
"""How often a deletion tries to lock a thread together with its run before it gives up."""


def lock_thread(session: Session, thread_id: uuid.UUID, *, organization_id: uuid.UUID | None = None) -> bool:
    """Lock a thread until the transaction ends; return whether it exists, in that organization."""
    query = select(Thread.id).where(Thread.id == thread_id).with_for_update(key_share=True)
    if organization_id is not None:
        query = query.where(Thread.organization_id == organization_id)
    return session.scalar(query) is not None


def is_busy(session: Session, thread_id: uuid.UUID) -> bool:
    """Whether a run has the thread, or waits for it. The thread must be locked."""
    on_it = or_(_is_held(thread_id), exists().where(Run.thread_id == thread_id, *WAITING))
    return bool(session.scalar(select(on_it)))


def _is_held(thread_id: uuid.UUID | InstrumentedAttribute[uuid.UUID | None]) -> ColumnElement[bool]:
    holder = aliased(Run)  # as the unique index `uq_runs_thread` says it
    return exists().where(holder.thread_id == thread_id, holder.status.in_(ACTIVE), ~holder.waits_for_thread)


def waiting_detail(thread_id: uuid.UUID) -> StatusDetail:
    """Why a run waits for its thread."""
    message = "An earlier run of its thread has not ended yet."
    return StatusDetail(Reason.WAITING_FOR_THREAD, message, thread_id=str(thread_id))


def admit_next(session: Session, dispatcher: Dispatcher, thread_id: uuid.UUID) -> uuid.UUID | None:
    """Give a free thread to the oldest run that waits for it.

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
    # A run that is cancelled meanwhile is not admitted; then the next one is tried.
    while (run_id := session.scalar(oldest)) is not None:
        if _admit(session, dispatcher, run_id):
            return run_id
    return None


def release_all(session: Session, dispatcher: Dispatcher, thread_id: uuid.UUID) -> None:
    """Take every run off a thread before its deletion; the waiting ones are sent.

    The thread stays locked, so that no further run comes to it.

    Raises:
        ContendedError: its runs changed faster than it could be locked.
    """
    for _ in range(TURNS):
        with session.begin_nested() as turn:
            held = set(session.scalars(Lock.CHANGE(_holders(thread_id), Run)))
            session.execute(Lock.REMOVAL(select(Thread.id).where(Thread.id == thread_id), Thread))
            if held.issuperset(session.scalars(_holders(thread_id))):
                break
            turn.rollback()  # another run has the thread by now: it is locked before the thread
    else:
        raise ContendedError
    waiting = session.scalars(select(Run.id).where(Run.thread_id == thread_id, *WAITING)).all()
    for run_id in waiting:
        _admit(session, dispatcher, run_id, thread_id=None)


def _holders(thread_id: uuid.UUID) -> Select[uuid.UUID]:
    """The run that has a thread, if any."""
    return select(Run.id).where(Run.thread_id == thread_id, Run.status.in_(ACTIVE), ~Run.waits_for_thread)


def find_free_threads_waited_for(
    session: Session, *, limit: int, after: uuid.UUID | None = None
) -> Sequence[uuid.UUID]:
    """Return free threads that runs wait for, in the order of their ids: normally there is none."""
    query = select(Run.thread_id).where(*WAITING, ~_is_held(Run.thread_id)).distinct().order_by(Run.thread_id)
    if after is not None:
        query = query.where(Run.thread_id > after)
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
        .returning(Run.attempt, Run.organization_id, Run.assistant_id, Run.structure_id)
        .execution_options(synchronize_session=False)
    )
    admitted = session.execute(admit).one_or_none()
    if admitted is None:
        return False
    if share is None:
        owners = owners_of(admitted)
        dispatcher.enqueue(session, run_id, attempt=admitted.attempt + 1, owners=owners)
    else:
        dispatcher.enqueue_next(session, admitted.organization_id)
    return True
