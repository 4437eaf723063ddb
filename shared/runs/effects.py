"""What follows from a transition: in the same transaction, and once it is committed."""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.errors import TransitionRefusedError
from shared.keys.service import delete_run_keys
from shared.models import Run
from shared.runs import shares, transitions
from shared.runs.admission import admit_next
from shared.runs.lifecycle import ACTIVE, HELD, TERMINAL, RunKind, RunStatus, StoppedHow, Trigger
from shared.runs.task_states import task_events
from shared.runs.transitions import Applied


def follow(session: Session, dispatcher: Dispatcher, applied: Applied) -> None:
    """Tell readers and Flower; send a requeued run to the workers; let the next run have a thread left free.

    Where tenants have a share of the workers, what waits for it is sent, too.

    The keys of a structure run go with its attempt, and the runs that an assistant run called with it.
    """
    run = applied.run
    dispatcher.announce(session, applied.events)
    dispatcher.tell_watchers(session, task_events(run))
    if run.status is RunStatus.QUEUED:
        dispatcher.enqueue(session, run.id, attempt=run.attempt + 1, kind=run.kind)
    if run.kind is RunKind.STRUCTURE and run.status not in HELD:
        delete_run_keys(session, run.id)
    if run.structure_ids and run.status not in HELD:
        _cancel_called(session, dispatcher, run)
    if run.status in TERMINAL and run.thread_id is not None and not run.waits_for_thread:
        admit_next(session, dispatcher, run.thread_id)
    if run.status not in HELD and shares.counts(run, dispatcher.share):
        dispatcher.enqueue_next(session, run.organization_id)


def _cancel_called(session: Session, dispatcher: Dispatcher, run: Run) -> None:
    """Cancel what a run called as tools and nobody waits for any more."""
    called = select(Run.id).where(Run.parent_run_id == run.id, Run.status.in_(ACTIVE)).order_by(Run.id)
    for run_id in session.scalars(called).all():
        cancel_by(session, dispatcher, run_id, requested_by=f"its parent run {run.id}")


def cancel_by(
    session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, *, requested_by: str
) -> Run | None:
    """End a run on behalf of `requested_by`, of whatever organization, and stop its work.

    Returns:
        The CANCELLED run, or None if it had already ended.
    """
    detail = transitions.cancel_detail(requested_by=requested_by)
    try:
        applied = transitions.apply(session, run_id, Trigger.CANCEL, detail=detail)
    except TransitionRefusedError:
        return None
    run = applied.run
    follow(session, dispatcher, applied)
    if run.is_external:
        transitions.record_stop(session, run.id, StoppedHow.EXTERNAL, attempt=run.attempt)
        session.refresh(run)
        return run
    dispatcher.revoke(session, run.id, attempt=run.attempt if run.is_stopping else run.attempt + 1)
    return run
