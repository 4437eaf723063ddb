"""The pool by itself: no Celery worker, no broker; what runs end with is reported at once."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import Ignore

from shared.lifecycle import StoppedHow
from tests.support.waiting import wait_until
from worker.cancellation import StopReason, current_slot
from worker.process.pool import RunAbandonedError, TaskPool

SUCCESS = (False, "done", 0.1)


class Request:
    """Celery's side of one task: what the pool tells it, and what the task waits for."""

    def __init__(self) -> None:
        self.accepted_by: int | None = None
        self.results: list[Any] = []
        self.errors: list[Any] = []
        self.slots: list[Any] = []
        self.running = threading.Event()
        self.release = threading.Event()

    @property
    def is_concluded(self) -> bool:
        return bool(self.results or self.errors)

    def accept(self, pid: int, _at: float) -> None:
        self.accepted_by = pid

    def work(self) -> Any:
        """What most tests let their task do: run until it is told to stop or to go on."""
        slot = current_slot()
        assert slot is not None
        self.slots.append(slot)
        with slot.token.on_cancel(self.release.set):
            self.running.set()
            self.release.wait(60)
        return SUCCESS


Apply = Callable[..., Any]


@pytest.fixture
def pool() -> TaskPool:
    pool = TaskPool(2)
    pool.start()
    return pool


@pytest.fixture
def apply(pool: TaskPool) -> Apply:
    def apply(request: Request, work: Callable[[], Any] | None = None) -> Any:
        return pool.apply_async(
            work or request.work,
            callback=request.results.append,
            error_callback=request.errors.append,
            accept_callback=request.accept,
            timeout_callback=None,
            correlation_id="a task",
        )

    return apply


def running(apply: Apply) -> Request:
    request = Request()
    apply(request)
    assert request.running.wait(30)
    return request


def test_task_runs_in_a_slot_and_reports_its_result(pool: TaskPool, apply: Apply) -> None:
    request = running(apply)
    request.release.set()
    assert pool.wait_idle(5)
    assert request.results == [SUCCESS]
    assert request.slots[0].last_resort is StoppedHow.ABANDONED
    assert current_slot() is None


def test_celery_knows_of_the_beginning_before_the_task_begins(pool: TaskPool, apply: Apply) -> None:
    request = Request()
    known: list[int | None] = []
    apply(request, lambda: known.append(request.accepted_by))
    assert pool.wait_idle(5)
    assert known == [request.accepted_by]
    assert request.accepted_by


def test_terminate_job_fires_the_token_of_that_run_only(pool: TaskPool, apply: Apply) -> None:
    first, second = running(apply), running(apply)
    assert first.accepted_by is not None
    pool.terminate_job(first.accepted_by, 15)
    wait_until(lambda: first.is_concluded)
    assert first.slots[0].token.reason is StopReason.CANCELLED
    assert second.slots[0].token.reason is None
    second.release.set()
    assert pool.wait_idle(5)


def test_result_can_be_terminated_as_celery_does(pool: TaskPool, apply: Apply) -> None:
    request = Request()
    result = apply(request)
    result.terminate(15)
    assert pool.wait_idle(5)
    assert request.slots[0].token.reason is StopReason.CANCELLED


def test_terminating_an_unknown_job_does_nothing(pool: TaskPool) -> None:
    pool.terminate_job(123, 15)
    assert pool.num_processes == 2


def test_revoked_run_keeps_its_slot_until_it_ends(pool: TaskPool, apply: Apply) -> None:
    goes_on = threading.Event()
    request = Request()
    apply(request, lambda: request.running.set() or goes_on.wait(60))
    assert request.running.wait(30)
    assert request.accepted_by is not None
    pool.terminate_job(request.accepted_by, 15)
    assert pool.num_processes == 1  # Celery has forgotten the request, the thread is there
    goes_on.set()
    assert pool.wait_idle(5)
    assert pool.num_processes == 2


def test_no_more_tasks_at_once_than_the_limit(pool: TaskPool, apply: Apply) -> None:
    first, second = running(apply), running(apply)
    third = Request()
    apply(third)
    assert not third.running.is_set()
    assert third.accepted_by is None
    first.release.set()
    assert third.running.wait(30)
    second.release.set()
    third.release.set()
    assert pool.wait_idle(5)


def test_grown_pool_starts_what_waits(pool: TaskPool, apply: Apply) -> None:
    requests = [running(apply), running(apply)]
    third = Request()
    apply(third)
    pool.grow(1)
    assert third.running.wait(30)
    pool.shrink(2)
    assert pool.num_processes == 1
    for request in [*requests, third]:
        request.release.set()
    assert pool.wait_idle(5)


def test_error_that_escapes_the_tracer_gives_the_slot_back(pool: TaskPool, apply: Apply) -> None:
    request = Request()

    def work() -> None:
        raise SystemExit(3)

    apply(request, work)
    assert pool.wait_idle(5)
    wait_until(lambda: request.is_concluded)
    assert isinstance(request.errors[0].exception.exc, SystemExit)


def test_system_without_a_thread_to_spare_fails_the_task_only(
    pool: TaskPool, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    request = Request()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        apply(request)
    assert pool.wait_idle(0)
    assert isinstance(request.errors[0].exception.exc, RuntimeError)
    assert request.accepted_by is None
    later = running(apply)
    later.release.set()
    assert pool.wait_idle(5)


def test_abandoned_run_gives_its_slot_back_once(pool: TaskPool, apply: Apply) -> None:
    goes_on = threading.Event()
    request = Request()
    slots: list[Any] = []

    def deaf() -> Any:
        slots.append(current_slot())
        request.running.set()
        goes_on.wait(60)
        return SUCCESS

    apply(request, deaf)
    assert request.running.wait(30)
    slots[0].abandon()
    slots[0].abandon()
    assert pool.wait_idle(0)
    assert pool.num_processes == 2
    failed, info, _ = request.results[0]
    assert failed
    assert isinstance(info.exception.exc, RunAbandonedError)
    goes_on.set()
    after = running(apply)  # the thread that was left behind has ended by the time another has
    after.release.set()
    assert pool.wait_idle(5)
    assert len(request.results) == 1
    assert pool.info["abandoned"] == 1


def test_abandoned_run_that_was_revoked_stays_so_in_flower(pool: TaskPool, apply: Apply) -> None:
    goes_on = threading.Event()
    request = Request()
    result = apply(request, lambda: request.running.set() or goes_on.wait(60))
    assert request.running.wait(30)
    result.terminate(15)
    result.abandon()
    assert isinstance(request.results[0][1].exception.exc, Ignore)
    goes_on.set()


def test_abandon_has_the_process_recycled(pool: TaskPool, apply: Apply) -> None:
    class Recorder:
        recycled = 0

        def recycle(self) -> None:
            self.recycled += 1

    recorder = Recorder()
    pool.drain = recorder  # type: ignore[assignment]
    request = running(apply)
    request.slots[0].abandon()
    request.release.set()
    assert recorder.recycled == 1


def test_stop_runs_fires_every_token_with_its_reason(pool: TaskPool, apply: Apply) -> None:
    requests = [running(apply), running(apply)]
    pool.stop_runs(StopReason.DRAINED)
    assert pool.wait_idle(5)
    assert [request.slots[0].token.reason for request in requests] == [StopReason.DRAINED] * 2


def test_ends_are_reported_in_the_consumers_thread(pool: TaskPool, apply: Apply) -> None:
    class Loop:
        def __init__(self) -> None:
            self.soon: list[Callable[[], object]] = []

        def call_soon(self, callback: Callable[[], object]) -> None:
            self.soon.append(callback)

    loop = Loop()
    pool.register_with_event_loop(loop)
    request = running(apply)
    request.release.set()
    assert pool.wait_idle(5)
    wait_until(lambda: len(loop.soon) > 1)
    assert not request.is_concluded
    for callback in loop.soon:
        callback()
    assert request.results == [SUCCESS]


def test_report_that_fails_does_not_hold_up_others(pool: TaskPool, apply: Apply) -> None:
    first, second = Request(), Request()
    first.results = None  # type: ignore[assignment]
    pool.apply_async(
        lambda: SUCCESS,
        callback=lambda _: 1 / 0,
        error_callback=first.errors.append,
        accept_callback=first.accept,
    )
    apply(second, lambda: SUCCESS)
    assert pool.wait_idle(5)
    wait_until(lambda: second.is_concluded)
    assert pool.num_processes == 2


def test_capacity_never_leaks(pool: TaskPool, apply: Apply) -> None:
    requests = [Request() for _ in range(100)]
    lock, at_once, most = threading.Lock(), [0], [0]

    def work() -> Any:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        with lock:
            at_once[0] -= 1
        return SUCCESS

    for request in requests:
        apply(request, work)
    wait_until(lambda: all(request.is_concluded for request in requests))
    assert pool.wait_idle(5)
    assert most[0] <= 2
    assert pool.num_processes == 2
    assert pool.info["threads"] == 0
