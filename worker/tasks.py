"""The Celery task that carries a run to its execution: parse, bind the log context, call."""

import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from shared.dispatch import EXECUTE_RUN
from worker import execution, resources
from worker.cancellation import Seat, current_seat
from worker.execution import Ending
from worker.prefork import process_seat

log = structlog.get_logger(__name__)


def register(app: Celery) -> None:
    """Let workers of this application execute runs."""
    # What becomes of a run is told as it is moved (`shared.runs.task_states`), not by what its code returns.
    app.task(name=EXECUTE_RUN, bind=True, typing=False, send_events=False)(execute_run)


def execute_run(task: "Task[Any, Any]", /, *_: object, **arguments: object) -> None:
    """Execute the run that a message names.

    The message may come from an older or a newer release: what it says beyond `run_id` and
    `attempt` is left unread.

    Raises:
        Reject: the message makes no sense; it is dropped.
        Ignore: the message was refused, as of a run that somebody else has; or the run was cancelled.
    """
    run_id, attempt = _parse(arguments)
    with structlog.contextvars.bound_contextvars(
        run_id=str(run_id), attempt=attempt, task_id=task.request.id
    ):
        with _seat() as seat:
            ending = execution.execute(resources.get(), run_id, attempt, seat)
        if ending in {Ending.NOT_CLAIMED, Ending.CANCELLED}:
            raise Ignore


def _parse(arguments: Mapping[str, object]) -> tuple[uuid.UUID, int]:
    run_id, attempt = arguments.get("run_id"), arguments.get("attempt")
    try:
        if isinstance(run_id, str) and type(attempt) is int and attempt > 0:
            return uuid.UUID(run_id), attempt
    except ValueError:  # no UUID
        log.info("run id malformed")
    log.error("malformed task dropped", names=sorted(arguments))
    raise Reject(reason="malformed arguments", requeue=False)


@contextmanager
def _seat() -> Generator[Seat]:
    """The seat the thread pool has given this run, or else the whole process."""
    seat = current_seat()
    if seat is not None:
        yield seat
        return
    with process_seat() as seat:
        yield seat
