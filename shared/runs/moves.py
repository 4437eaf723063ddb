"""The one door to a run's status: each move is a conditional transition and its effects, in one call.

A move that the run's present status or attempt forbids raises TransitionRefusedError and writes nothing.
What a move sends (events, tasks, revokes) leaves the process once the transaction has committed.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.artifacts import encode_artifact, text_artifact
from shared.db import after_commit
from shared.dispatch import shares
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import RunNotFoundError, TransitionRefusedError
from shared.events import log
from shared.events.log import Batch
from shared.keys.service import delete_run_keys
from shared.lifecycle import ACTIVE, HELD, TERMINAL, RunKind, RunStatus, StatusDetail, StoppedHow, Trigger
from shared.logs import note
from shared.models import JsonObject, Run
from shared.rows import metadata
from shared.runs import acceptance, transitions
from shared.runs.measures import measure_accepted, measure_move, measure_moves
from shared.runs.receipts import cancel_detail, record_stop, record_stops
from shared.runs.task_states import task_events
from shared.runs.together import Cancel, Move, Stop
from shared.runs.transitions import Applied
from shared.threads import service as threads
from shared.threads.turns import admit_next


def store_new_run(session: Session, dispatcher: Dispatcher, run: Run, *, name: str, dispatch: bool) -> None:
    """Store a new run, its metadata and its first event, and dispatch it after the commit.

    Where tenants have a share of the workers, the run is sent when its tenant's share has room.

    Args:
        name: the present name of the assistant or the structure; the first event keeps it.
        dispatch: False for a run that waits for its thread, or that no worker executes.
    """
    waits_for_share = dispatch and shares.counts(run, dispatcher.share)
    if waits_for_share:
        run.dispatched_at = None
    run.stored_bytes = acceptance.size_of(run)
    session.add(run)
    session.flush()
    about = {"run_id": str(run.id), "trace_id": run.trace_id}
    after_commit(session, lambda: note(**about))
    measure_accepted(session, run.kind)
    metadata.note(session, run)
    first = acceptance.first_event(run, name=name)
    dispatcher.announce(session, log.insert_at(session, run.id, [first], first_seq=0, attempt=0))
    if waits_for_share:
        dispatcher.enqueue_next(session, run.organization_id)
    elif dispatch:
        owners = shares.owners_of(run)
        dispatcher.enqueue(session, run.id, attempt=1, kind=run.kind, owners=owners)


def claim(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    attempt: int,
    worker: str,
    process: str | None = None,
    lease_ttl: timedelta,
) -> Run:
    """Take a QUEUED run for `attempt`, under a lease. Lock nothing after it in the same transaction.

    Args:
        process: the worker's process (`shared.processes.beats.this_process`).

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run is not QUEUED, waits for its thread, or is at another attempt.
        ShareUsedUpError: the tenant's share is used up: roll back, then `shares.put_back`.
    """
    values = {"worker": worker, "process": process, "lease_expires_at": func.now() + lease_ttl}
    run = _move(session, dispatcher, run_id, Trigger.CLAIM, attempt=attempt, values=values)
    shares.require_room(session, run, share=dispatcher.share)
    return run


def stands_alone(run: Run, *, share: int | None) -> bool:
    """Whether no move of a run by its worker concerns anything but the run: these may move together."""
    return (
        run.kind is RunKind.ASSISTANT
        and run.thread_id is None
        and not run.structure_ids
        and not shares.counts(run, share)
    )


def store_together(
    session: Session,
    dispatcher: Dispatcher,
    *,
    begins: Sequence[Move] = (),
    appends: Sequence[Batch] = (),
    ends: Mapping[Trigger, Sequence[Move]] | None = None,
    stops: Sequence[Stop] = (),
    lease_ttl: timedelta,
) -> frozenset[uuid.UUID]:
    """Begin runs, append events and end runs that stand alone: a few statements for any number of runs.

    Everything is fenced as by `claim`, `start`, `shared.events.log.append`, the ends and `record_stop`. What
    a run refuses, or what concerns a run that somebody else has locked, is left out, and nothing of it is
    written.

    Args:
        begins: QUEUED runs to claim and start: RUNNING afterwards, and STARTING on the way.
        appends: events of runs that go on.
        ends: moves by SUCCEED, FAIL or BREAK.
        stops: of cancelled runs, whether they stand alone or not.

    Returns:
        The runs, each named once in the arguments, of which everything was written.
    """
    applied = []
    if begins:
        triggers = (Trigger.CLAIM, Trigger.START)
        applied += transitions.apply_together(session, triggers, begins, lease_ttl=lease_ttl)
    for trigger, moves in (ends or {}).items():
        applied += transitions.apply_together(session, (trigger,), moves)
    numbers = log.reserve_together(session, appends) if appends else {}
    batches = [(one, numbers[one.run_id]) for one in appends if one.run_id in numbers]
    batches += [batch for one in applied for batch in one.batches]
    for events in log.insert_together(session, batches):
        dispatcher.announce(session, events)
    stages = [run for one in applied for run in one.stages]
    dispatcher.tell_watchers(session, [event for run in stages for event in task_events(run)])
    measure_moves(session, stages, queue_of=dispatcher.queue_of)
    stopped = record_stops(session, stops) if stops else []
    return frozenset([*(batch.run_id for batch, _ in batches), *stopped])


def start(session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, *, attempt: int) -> Run:
    """Begin to execute a STARTING run.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run is not STARTING, or another attempt's.
    """
    return _move(session, dispatcher, run_id, Trigger.START, attempt=attempt)


def succeed(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    attempt: int,
    detail: StatusDetail,
    output: Any = None,
    usage: JsonObject | None = None,
    prompt: str | None = None,
) -> Run:
    """End a RUNNING run with success. On a thread, append its prompt and output as a message.

    Args:
        output: an artifact; None keeps the output that the run's own code has reported.
        prompt: the text that the output answers; None for a structure run.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run is not RUNNING, or another attempt's.
    """
    values = _given(output=output, usage=usage)
    applied = transitions.apply(
        session, run_id, Trigger.SUCCEED, attempt=attempt, detail=detail, values=values
    )
    run = applied.run
    if run.thread_id is not None and prompt is not None:
        message = threads.NewMessage(
            input=encode_artifact(text_artifact(prompt)),
            output=encode_artifact(output),
            meta={"run_id": run.id.hex},
        )
        threads.append(session, run.thread_id, message, created_by=run.created_by)
    _take_effect(session, dispatcher, applied)
    return run


def fail(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    attempt: int,
    detail: StatusDetail,
    output: Any = None,
    usage: JsonObject | None = None,
) -> Run:
    """End a RUNNING run as FAILED: the assistant or the program itself failed.

    Args:
        output: an artifact; None keeps the output that the run's own code has reported.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run is not RUNNING, or another attempt's.
    """
    values = _given(output=output, usage=usage)
    return _move(session, dispatcher, run_id, Trigger.FAIL, attempt=attempt, detail=detail, values=values)


def break_(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    attempt: int,
    detail: StatusDetail,
    usage: JsonObject | None = None,
    losses: int | None = None,
) -> Run:
    """End an active run as ERROR: the platform failed it.

    Args:
        attempt: the attempt that the run is in; of a QUEUED run, the attempt that it waits for.
        losses: the attempts that were lost with their worker, where that number has changed.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run has ended, or is another attempt's.
    """
    values = _given(usage=usage, losses=losses)
    return _move(session, dispatcher, run_id, Trigger.BREAK, attempt=attempt, detail=detail, values=values)


def requeue(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    attempt: int,
    detail: StatusDetail,
    losses: int | None = None,
) -> Run:
    """Put a held run back into the queue, and send its next attempt to the workers.

    Args:
        losses: the attempts that were lost with their worker, where that number has changed.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: no attempt holds the run, or another one does.
    """
    values = _given(losses=losses)
    return _move(session, dispatcher, run_id, Trigger.REQUEUE, attempt=attempt, detail=detail, values=values)


def cancel(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    requested_by: str,
    attempt: int | None = None,
    revoke: bool = True,
) -> Run:
    """End an active run, of whatever organization, on behalf of `requested_by`, and stop its work.

    The receipt of an external run is complete at once: no worker executes it.

    Args:
        attempt: cancel the run only if it waits for this attempt, or is in it.
        revoke: revoke the attempt's Celery task. False if the task is revoked already.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run has ended, or is at another attempt.
    """
    detail = cancel_detail(requested_by=requested_by)
    run = _move(session, dispatcher, run_id, Trigger.CANCEL, attempt=attempt, detail=detail)
    if run.is_external:
        record_stop(session, run.id, StoppedHow.EXTERNAL, attempt=run.attempt)
        session.refresh(run)
    elif revoke:
        _revoke(session, dispatcher, run)
    return run


def cancel_together(session: Session, dispatcher: Dispatcher, cancels: Sequence[Cancel]) -> list[Run]:
    """End active runs for callers, as `cancel` does: a few statements for any number of runs.

    What a run refuses, and a run of which a cancel concerns more than the run, is left out, and nothing of
    it is written: `cancel` finds out.

    Returns:
        The runs that are CANCELLED.
    """
    cancelled = transitions.cancel_together(session, cancels)
    runs = [one.run for one in cancelled]
    for events in log.insert_together(session, [(one.events, one.first_seq) for one in cancelled]):
        dispatcher.announce(session, events)
    dispatcher.tell_watchers(session, [event for run in runs for event in task_events(run)])
    measure_moves(session, runs, queue_of=dispatcher.queue_of)
    for run in runs:
        _revoke(session, dispatcher, run)
    for owner in dict.fromkeys(run.organization_id for run in runs if shares.counts(run, dispatcher.share)):
        dispatcher.enqueue_next(session, owner)
    return runs


def _revoke(session: Session, dispatcher: Dispatcher, run: Run) -> None:
    """Revoke the task of the attempt that a cancelled run was in, or waited for."""
    dispatcher.revoke(session, run.id, attempt=run.attempt if run.is_stopping else run.attempt + 1)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _move(
    session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, trigger: Trigger, **options: Any
) -> Run:
    applied = transitions.apply(session, run_id, trigger, **options)
    _take_effect(session, dispatcher, applied)
    return applied.run


def _take_effect(session: Session, dispatcher: Dispatcher, applied: Applied) -> None:
    """Do what follows from a transition.

    Publish its events, and tell Flower. Send a requeued run to the workers. With an attempt end the keys
    of its program and the structure runs that it called as tools. A run that ends leaves its thread to the
    next run; a run that leaves a worker makes room in its tenant's share.
    """
    run = applied.run
    dispatcher.announce(session, applied.events)
    dispatcher.tell_watchers(session, task_events(run))
    measure_move(session, run, queue_of=dispatcher.queue_of)
    if run.status in HELD:
        return
    if run.status is RunStatus.QUEUED:
        owners = shares.owners_of(run)
        dispatcher.enqueue(session, run.id, attempt=run.attempt + 1, kind=run.kind, owners=owners)
    if run.kind is RunKind.STRUCTURE:
        delete_run_keys(session, run.id)
    if run.structure_ids:
        _cancel_called(session, dispatcher, run)
    if run.status in TERMINAL and run.thread_id is not None and not run.waits_for_thread:
        admit_next(session, dispatcher, run.thread_id)
    if shares.counts(run, dispatcher.share):
        dispatcher.enqueue_next(session, run.organization_id)


def _cancel_called(session: Session, dispatcher: Dispatcher, run: Run) -> None:
    """Cancel the structure runs that a run called as tools: nobody waits for them any more."""
    called = select(Run.id).where(Run.parent_run_id == run.id, Run.status.in_(ACTIVE)).order_by(Run.id)
    for run_id in session.scalars(called).all():
        try:
            cancel(session, dispatcher, run_id, requested_by=f"its parent run {run.id}")
        except (TransitionRefusedError, RunNotFoundError):  # it has ended meanwhile, or was deleted
            continue
