"""What an attempt's Celery task is: what its run is. Celery itself says nothing of our tasks.

It would say that a task succeeded whose code returned, whatever became of the run, and that one is being
executed whose second message was just refused. So whoever moves a run tells of the move, be it a worker, a
caller's cancel, or the reconciler on behalf of a worker that is gone.
"""

from collections.abc import Mapping
from typing import Any, Final

from shared.dispatch import EXECUTE_RUN, arguments_of, task_id_of
from shared.models import JsonObject, Run
from shared.runs.lifecycle import Reason, RunStatus
from shared.task_events import NO_WORKER, TaskEvent

OFFLINE: Final = "worker-offline"

LOST: Final = frozenset({Reason.WORKER_LOST, Reason.TOO_MANY_ATTEMPTS})
"""Why a run is given up whose worker is gone."""

REASONS: Final = frozenset(Reason)


def task_events(run: Run) -> list[TaskEvent]:
    """What is to be told once a run has been moved to where it is; of one that no worker is to have, nothing.

    No event quotes what a run was asked, answered or failed with: the status and a reason of ours are all.
    """
    if run.is_external or run.waits_for_thread:
        return []
    match run.status:
        case RunStatus.STARTING:
            events = [_of(run, "task-received", **_origin(run)), _of(run, "task-started")]
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
    return [*events, *_of_a_lost_worker(run)]


def _of(run: Run, kind: str, **fields: Any) -> TaskEvent:
    """An event of the attempt that has or had the run; if none had it, of the one it waited for."""
    worker = _worker_of(run)
    attempt = run.attempt + 1 if worker is None else run.attempt
    task = {"uuid": task_id_of(run.id, attempt), "name": EXECUTE_RUN}
    return TaskEvent(kind, worker or NO_WORKER, {**task, **fields})


def _worker_of(run: Run) -> str | None:
    if run.status is RunStatus.QUEUED:  # given back, or taken away: the row names it no more
        return str(_detail(run).get("worker", NO_WORKER))
    return run.worker


def _of_a_lost_worker(run: Run) -> list[TaskEvent]:
    """That the worker is gone. Should it be there after all, its next heartbeat says so, seconds later."""
    worker = _worker_of(run)
    is_lost = worker is not None and _detail(run).get("reason") in LOST
    return [TaskEvent(OFFLINE, worker)] if worker and is_lost else []


def _origin(run: Run) -> dict[str, Any]:
    identifier = task_id_of(run.id, run.attempt)
    kwargs = repr(arguments_of(run.id, run.attempt))
    return {"args": "()", "kwargs": kwargs, "root_id": identifier, "parent_id": None, "retries": 0}


def _why(run: Run) -> str:
    """The status, and the reason if it is one of ours: whatever else may be there is not for Flower."""
    reason = _detail(run).get("reason")
    return f"{run.status}: {reason}" if reason in REASONS else str(run.status)


def _seconds(run: Run) -> float | None:
    if run.started_at is None or run.completed_at is None:
        return None
    return (run.completed_at - run.started_at).total_seconds()


def _detail(run: Run) -> Mapping[str, Any]:
    detail: JsonObject | None = run.status_detail
    return detail or {}
