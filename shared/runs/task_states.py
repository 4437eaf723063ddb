"""Task events: the state of an attempt's Celery task follows from its run, and every move sends it.

Celery's own events are off. They would call a task successful because its code returned, whatever became
of the run, and would show a refused second message as an execution.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.dispatch.dispatcher import EXECUTE_RUN, shown_arguments, task_id_of
from shared.dispatch.shares import owners_of
from shared.dispatch.task_events import NO_WORKER, TaskEvent
from shared.lifecycle import HELD, Reason, RunStatus
from shared.models import JsonObject, Run
from shared.runs.together import MOVED_COLUMNS, MovedRun

OFFLINE: Final = "worker-offline"

LOST: Final = frozenset({Reason.WORKER_LOST, Reason.TOO_MANY_ATTEMPTS})
"""Reasons of a run that has lost its worker."""

REASONS: Final = frozenset(Reason)


def task_events(run: Run | MovedRun) -> list[TaskEvent]:
    """The task events of a run's last move; none for an external run, or one that waits for its thread.

    No event quotes a run's input, output or error: it has the status, and a reason of the enum.
    """
    if run.is_external or run.waits_for_thread:
        return []
    match run.status:
        case RunStatus.STARTING:
            identifier = task_id_of(run.id, run.attempt)
            kwargs = shown_arguments(run.id, run.attempt, owners_of(run))
            origin = {"root_id": identifier, "parent_id": None, "retries": 0}
            received = _of(run, "task-received", args="()", kwargs=kwargs, **origin)
            events = [received, _of(run, "task-started")]
        case RunStatus.RUNNING:
            events = []
        case RunStatus.QUEUED:
            events = [_of(run, "task-retried", exception=_why(run), traceback="")]
        case RunStatus.SUCCEEDED:
            events = [_of(run, "task-succeeded", result=_why(run), runtime=_seconds(run))]
        case RunStatus.FAILED | RunStatus.ERROR:
            events = [_of(run, "task-failed", exception=_why(run), traceback="", runtime=_seconds(run))]
        case RunStatus.CANCELLED:
            events = [_of(run, "task-revoked", terminated=run.is_stopping, signum=None, expired=False)]
    worker = _worker_of(run)
    if worker and _detail(run).get("reason") in LOST:
        events.append(TaskEvent(OFFLINE, worker))  # if it lives, its next heartbeat corrects it in seconds
    return events


def missed_events(session: Session, known: Mapping[tuple[uuid.UUID, int], str]) -> list[TaskEvent]:
    """The events that end tasks of attempts that are over, for a monitor that has missed them.

    Args:
        known: attempts that a monitor takes to be under way, each with its worker.
    """
    query = select(*MOVED_COLUMNS).where(Run.id.in_({run_id for run_id, _ in known}))
    runs = {run.id: run for run in map(MovedRun._make, session.execute(query))}
    events = []
    for (run_id, attempt), worker in known.items():
        run = runs.get(run_id)
        task = {"uuid": task_id_of(run_id, attempt), "name": EXECUTE_RUN}
        if run is None:
            events.append(TaskEvent("task-failed", worker, {**task, "exception": "deleted", "traceback": ""}))
        elif attempt < run.attempt:
            events.append(TaskEvent("task-retried", worker, {**task, "exception": "", "traceback": ""}))
        else:
            told = task_events(run) if run.status not in HELD else []
            events += [event for event in told if event.fields.get("uuid") == task["uuid"]]
    return events


def _of(run: Run | MovedRun, kind: str, **fields: Any) -> TaskEvent:
    """An event of the attempt that has or had the run; without any, of the attempt that it waited for."""
    worker = _worker_of(run)
    attempt = run.attempt + 1 if worker is None else run.attempt
    task = {"uuid": task_id_of(run.id, attempt), "name": EXECUTE_RUN}
    return TaskEvent(kind, worker or NO_WORKER, {**task, **fields})


def _worker_of(run: Run | MovedRun) -> str | None:
    if run.status is RunStatus.QUEUED:  # given back, or taken away: the row names it no more
        return str(_detail(run).get("worker", NO_WORKER))
    return run.worker


def _why(run: Run | MovedRun) -> str:
    """The status, and the reason if it is of the enum: Flower gets no other text."""
    reason = _detail(run).get("reason")
    return f"{run.status}: {reason}" if reason in REASONS else str(run.status)


def _seconds(run: Run | MovedRun) -> float | None:
    if run.started_at is None or run.completed_at is None:
        return None
    return (run.completed_at - run.started_at).total_seconds()


def _detail(run: Run | MovedRun) -> Mapping[str, Any]:
    detail: JsonObject | None = run.status_detail
    return detail or {}
