"""How a process is taken out of service, with runs and a control that only take notes."""

import threading
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest

from shared.settings import Settings
from worker.cancellation import StopReason
from worker.process import drain
from worker.process.drain import Drain
from worker.process.supervisor_link import EX_RECYCLE

LONG = 60.0
SHORT = 0.05


class RunPool:
    """Runs that end when the test says so, or when they are told to."""

    def __init__(self, *, obeys: bool = True) -> None:
        self.idle = threading.Event()
        self.stopped = threading.Event()
        self.reasons: list[StopReason] = []
        self._obeys = obeys

    def stop_runs(self, reason: StopReason) -> None:
        self.reasons.append(reason)
        self.stopped.set()
        if self._obeys:
            self.idle.set()

    def wait_idle(self, timeout: float) -> bool:
        return self.idle.wait(timeout)


class WorkerControl:
    """Notes what the drain does to the process, which goes on."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.left = threading.Event()
        self.exited = threading.Event()
        self.successor_wanted = threading.Event()
        self.codes: list[int] = []

    def close_intake(self) -> None:
        self.closed.set()

    def exit_gracefully(self, code: int) -> None:
        self.codes.append(code)
        self.left.set()

    def exit_now(self, code: int) -> None:
        self.codes.append(code)
        self.exited.set()

    def ask_for_successor(self) -> None:
        self.successor_wanted.set()


def nowhere(**values: Any) -> Settings:
    """Settings of a process that needs no server."""
    urls = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}
    return Settings.model_validate({**urls, **values})


class Scene:
    """A drain with its pool and control."""

    def __init__(self, pool: RunPool, *, grace: float, cancel_grace: float = LONG) -> None:
        self.pool = pool
        self.control = WorkerControl()
        graces = {
            "drain_grace": timedelta(seconds=grace),
            "cancel_grace": timedelta(seconds=cancel_grace),
        }
        self.drain = Drain(pool, self.control, nowhere(**graces))
        self.drain.start()

    def end(self) -> None:
        """Let the drain's thread run out."""
        self.pool.idle.set()
        self.drain.order()
        assert self.control.left.wait(30)
        while not self.control.exited.wait(0.01):
            self.drain.order()


@pytest.fixture
def make_scene(monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    scenes: list[Scene] = []
    monkeypatch.setattr(drain, "ORDER_INTERVAL", 0.02)
    monkeypatch.setattr(drain, "STOP_MARGIN", SHORT)

    def make(*, grace: float, cancel_grace: float = LONG, obeys: bool = True) -> Scene:
        scenes.append(Scene(RunPool(obeys=obeys), grace=grace, cancel_grace=cancel_grace))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.end()


def test_takes_nothing_new_and_leaves_when_the_runs_have_ended(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.drain.order()
    assert scene.control.closed.wait(30)
    assert not scene.control.left.wait(SHORT)
    scene.pool.idle.set()
    assert scene.control.left.wait(30)
    assert scene.control.codes[0] == 0
    assert scene.pool.reasons == []


def test_gives_runs_back_at_the_end_of_the_grace(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.order()
    assert scene.control.left.wait(30)
    assert scene.pool.reasons == [StopReason.DRAINED]


def test_second_order_ends_the_grace_and_a_third_the_wait(make_scene: Any) -> None:
    scene = make_scene(grace=LONG, obeys=False)
    scene.drain.order()
    assert scene.control.closed.wait(30)
    scene.drain.order()
    assert scene.pool.stopped.wait(30)
    assert not scene.control.left.is_set()
    scene.drain.order()
    assert scene.control.left.wait(30)


def test_fourth_order_does_not_wait_for_a_broker_that_does_not_answer(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.pool.idle.set()
    scene.drain.order()
    assert scene.control.left.wait(30)
    scene.drain.order()
    assert scene.control.exited.wait(30)


def test_recycling_waits_for_the_neighbours_however_long(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.recycle()
    assert scene.control.successor_wanted.wait(30)
    assert scene.control.closed.wait(30)
    assert not scene.control.left.wait(4 * SHORT)
    assert scene.pool.reasons == []
    scene.pool.idle.set()
    assert scene.control.left.wait(30)
    assert scene.control.codes[0] == EX_RECYCLE


def test_recycling_process_can_be_drained(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.recycle()
    assert scene.control.closed.wait(30)
    scene.drain.order()
    assert scene.control.left.wait(30)
    assert scene.pool.reasons == [StopReason.DRAINED]


def test_run_that_is_stuck_does_not_hold_up_the_exit(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT, cancel_grace=SHORT, obeys=False)
    scene.drain.order()
    assert scene.control.left.wait(30)
    assert not scene.pool.idle.is_set()


def test_completion_is_an_order_if_there_was_none(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.complete()
    assert scene.pool.reasons == [StopReason.DRAINED]


def test_completion_does_not_hurry_a_drain_that_was_ordered(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.drain.order()
    assert scene.control.closed.wait(30)
    waiter = threading.Thread(target=scene.drain.complete)
    waiter.start()
    assert not scene.pool.stopped.wait(4 * SHORT)
    scene.pool.idle.set()
    waiter.join(30)
    assert not waiter.is_alive()
    assert scene.pool.reasons == []


def test_process_that_lost_what_it_lives_by_gives_its_runs_back_and_is_replaced(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.drain.replace()
    assert scene.control.left.wait(30)
    assert scene.control.successor_wanted.is_set()
    assert scene.pool.reasons == [StopReason.DRAINED]
    assert scene.control.codes[0] == EX_RECYCLE


def test_process_whose_drain_is_dead_exits_at_once() -> None:
    dead = Drain(RunPool(), control := WorkerControl(), nowhere())
    dead.replace()
    assert control.codes == [EX_RECYCLE]
