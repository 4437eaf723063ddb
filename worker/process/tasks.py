"""The Celery task of a run: parse the message, bind the log context, execute the run."""

import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from shared.dispatch.dispatcher import EXECUTE_RUN
from shared.logs import about_run
from worker.attempt import execution, resources
from worker.attempt.conclusion import Ending
from worker.cancellation import Slot, current_slot
from worker.process.prefork import process_slot

log = structlog.get_logger(__name__)


def register(app: Celery) -> None:
    """Let workers of this application execute runs."""
    # Task states are published with each transition (`shared.runs.task_states`), not with the task's result.
    app.task(name=EXECUTE_RUN, bind=True, typing=False, send_events=False)(execute_run)


def execute_run(task: "Task[Any, Any]", /, *_: object, **arguments: object) -> None:
    """Execute the run that a message names.

    The message may come from an older or a newer release: arguments other than `run_id` and `attempt` are
    ignored.

    Raises:
        Reject: the arguments are malformed; the message is dropped.
        Ignore: the run was not claimed, since another attempt has it or it ended; or it was cancelled.
    """
    run_id, attempt = _parse(arguments)
    with about_run(run_id, attempt, task_id=task.request.id):
        with _slot() as slot:
            ending = execution.execute(resources.get(), run_id, attempt, slot)
        if ending in {Ending.NOT_CLAIMED, Ending.CANCELLED}:
            raise Ignore


def _parse(arguments: Mapping[str, object]) -> tuple[uuid.UUID, int]:
    run_id, attempt = arguments.get("run_id"), arguments.get("attempt")
    try:
        if isinstance(run_id, str) and type(attempt) is int and attempt > 0:
            return uuid.UUID(run_id), attempt
    except ValueError:  # not a UUID
        log.info("run id malformed")
    log.error("malformed task dropped", names=sorted(arguments))
    raise Reject(reason="malformed arguments", requeue=False)


@contextmanager
def _slot() -> Generator[Slot]:
    """Give the run its slot: the one of the thread pool, or the whole process under prefork."""
    slot = current_slot()
    if slot is not None:
        yield slot
        return
    with process_slot() as slot:
        yield slot
