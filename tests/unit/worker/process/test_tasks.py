"""The task: what it reads from a message, and what it lets Celery know of the ending."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from celery import Celery
from celery.exceptions import Ignore, Reject

from shared.dispatch.dispatcher import EXECUTE_RUN
from worker.attempt import execution, resources
from worker.attempt.conclusion import Ending
from worker.cancellation import CancelToken, in_slot
from worker.process import tasks

RUN_ID = uuid.UUID("11111111-2222-4333-8444-555555555555")


class Slot:
    def __init__(self) -> None:
        self.token = CancelToken()


@dataclass
class Executed:
    """What execution was asked for."""

    ending: Ending = Ending.SUCCEEDED
    calls: list[tuple[uuid.UUID, int, Any]] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)

    def __call__(self, _resources: Any, run_id: uuid.UUID, attempt: int, slot: Any) -> Ending:
        self.calls.append((run_id, attempt, slot))
        self.context = structlog.contextvars.get_contextvars()
        return self.ending


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Executed:
    executed = Executed()
    monkeypatch.setattr(execution, "execute", executed)
    monkeypatch.setattr(resources, "get", lambda: None)
    return executed


@pytest.fixture
def run_task() -> Callable[..., Any]:
    app = Celery("test", set_as_current=False)
    tasks.register(app)

    def run(*args: Any, **kwargs: Any) -> Any:
        with in_slot(Slot()):  # type: ignore[arg-type]
            return app.tasks[EXECUTE_RUN](*args, **kwargs)

    return run


def test_executes_the_run_that_the_message_names(executed: Executed, run_task: Callable[..., Any]) -> None:
    assert run_task(run_id=str(RUN_ID), attempt=2) is None
    ((run_id, attempt, slot),) = executed.calls
    assert (run_id, attempt) == (RUN_ID, 2)
    assert isinstance(slot, Slot)
    assert executed.context["run_id"] == str(RUN_ID)
    assert executed.context["attempt"] == 2
    assert "run_id" not in structlog.contextvars.get_contextvars()


def test_message_of_another_release_is_understood(executed: Executed, run_task: Callable[..., Any]) -> None:
    run_task("positional", run_id=str(RUN_ID), attempt=1, priority="new")
    assert len(executed.calls) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"run_id": str(RUN_ID)},
        {"run_id": "no uuid", "attempt": 1},
        {"run_id": 7, "attempt": 1},
        {"run_id": str(RUN_ID), "attempt": "1"},
        {"run_id": str(RUN_ID), "attempt": 0},
        {"run_id": str(RUN_ID), "attempt": True},
        {"run_id": str(RUN_ID), "attempt": None},
    ],
)
def test_malformed_message_is_dropped(
    executed: Executed, run_task: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    with pytest.raises(Reject) as rejected:
        run_task(**arguments)
    assert not rejected.value.requeue
    assert executed.calls == []


@pytest.mark.parametrize("ending", [Ending.CANCELLED, Ending.NOT_CLAIMED])
def test_neither_a_cancelled_run_nor_a_refused_message_is_a_success(
    executed: Executed, run_task: Callable[..., Any], ending: Ending
) -> None:
    executed.ending = ending
    with pytest.raises(Ignore):
        run_task(run_id=str(RUN_ID), attempt=1)


@pytest.mark.parametrize(
    "ending", [Ending.SUCCEEDED, Ending.FAILED, Ending.BROKEN, Ending.REQUEUED, Ending.LOST]
)
def test_any_other_ending_is_none_of_celerys_business(
    executed: Executed, run_task: Callable[..., Any], ending: Ending
) -> None:
    executed.ending = ending
    run_task(run_id=str(RUN_ID), attempt=1)
