"""How a process is taken out of service, with runs and a post that only take notes."""

import threading
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest

from shared.settings import Settings
from worker.cancellation import StopReason
from worker.drain import Drain
from worker.lifeline import EX_RECYCLE

LONG = 60.0
SHORT = 0.05


class Crew:
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


class Post:
    """Notes what the drain does to the process, which goes on."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.left = threading.Event()
        self.vanished = threading.Event()
        self.successor_wanted = threading.Event()
        self.codes: list[int] = []

    def close_intake(self) -> None:
        self.closed.set()

    def leave(self, code: int) -> None:
        self.codes.append(code)
        self.left.set()

    def vanish(self, code: int) -> None:
        self.codes.append(code)
        self.vanished.set()

    def ask_for_successor(self) -> None:
        self.successor_wanted.set()


def nowhere(**values: Any) -> Settings:
    """Settings of a process that needs no server."""
    urls = {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}
    return Settings.model_validate({**urls, **values})


class Scene:
    """A drain with its crew and post."""

    def __init__(self, crew: Crew, *, grace: float, cancel_grace: float = LONG) -> None:
        self.crew = crew
        self.post = Post()
        graces = {
            "drain_grace": timedelta(seconds=grace),
            "cancel_grace": timedelta(seconds=cancel_grace),
        }
        self.drain = Drain(crew, self.post, nowhere(**graces))
        self.drain.start()

    def end(self) -> None:
        """Let the drain's thread run out."""
        self.crew.idle.set()
        self.drain.order()
        assert self.post.left.wait(5)
        while not self.post.vanished.wait(0.05):
            self.drain.order()


@pytest.fixture
def make_scene() -> Generator[Any]:
    scenes: list[Scene] = []

    def make(*, grace: float, cancel_grace: float = LONG, obeys: bool = True) -> Scene:
        scenes.append(Scene(Crew(obeys=obeys), grace=grace, cancel_grace=cancel_grace))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.end()


def test_takes_nothing_new_and_leaves_when_the_runs_have_ended(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.drain.order()
    assert scene.post.closed.wait(5)
    assert not scene.post.left.wait(SHORT)
    scene.crew.idle.set()
    assert scene.post.left.wait(5)
    assert scene.post.codes[0] == 0
    assert scene.crew.reasons == []


def test_gives_runs_back_at_the_end_of_the_grace(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.order()
    assert scene.post.left.wait(5)
    assert scene.crew.reasons == [StopReason.DRAINED]


def test_second_order_ends_the_grace_and_a_third_the_wait(make_scene: Any) -> None:
    scene = make_scene(grace=LONG, obeys=False)
    scene.drain.order()
    assert scene.post.closed.wait(5)
    scene.drain.order()
    assert scene.crew.stopped.wait(5)
    assert not scene.post.left.is_set()
    scene.drain.order()
    assert scene.post.left.wait(5)


def test_fourth_order_does_not_wait_for_a_broker_that_does_not_answer(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.crew.idle.set()
    scene.drain.order()
    assert scene.post.left.wait(5)
    scene.drain.order()
    assert scene.post.vanished.wait(1)


def test_recycling_waits_for_the_neighbours_however_long(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.recycle()
    assert scene.post.successor_wanted.wait(5)
    assert scene.post.closed.wait(5)
    assert not scene.post.left.wait(4 * SHORT)
    assert scene.crew.reasons == []
    scene.crew.idle.set()
    assert scene.post.left.wait(5)
    assert scene.post.codes[0] == EX_RECYCLE


def test_recycling_process_can_be_drained(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.recycle()
    assert scene.post.closed.wait(5)
    scene.drain.order()
    assert scene.post.left.wait(5)
    assert scene.crew.reasons == [StopReason.DRAINED]


def test_run_that_is_stuck_does_not_hold_up_the_exit(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT, cancel_grace=SHORT, obeys=False)
    scene.drain.order()
    assert scene.post.left.wait(5)
    assert not scene.crew.idle.is_set()


def test_completion_is_an_order_if_there_was_none(make_scene: Any) -> None:
    scene = make_scene(grace=SHORT)
    scene.drain.complete()
    assert scene.crew.reasons == [StopReason.DRAINED]


def test_completion_does_not_hurry_a_drain_that_was_ordered(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.drain.order()
    assert scene.post.closed.wait(5)
    waiter = threading.Thread(target=scene.drain.complete)
    waiter.start()
    assert not scene.crew.stopped.wait(4 * SHORT)
    scene.crew.idle.set()
    waiter.join(5)
    assert not waiter.is_alive()
    assert scene.crew.reasons == []


def test_process_that_lost_what_it_lives_by_gives_its_runs_back_and_is_replaced(make_scene: Any) -> None:
    scene = make_scene(grace=LONG)
    scene.drain.replace()
    assert scene.post.left.wait(5)
    assert scene.post.successor_wanted.is_set()
    assert scene.crew.reasons == [StopReason.DRAINED]
    assert scene.post.codes[0] == EX_RECYCLE


def test_process_whose_drain_is_dead_exits_at_once() -> None:
    drain = Drain(Crew(), post := Post(), nowhere())
    drain.replace()
    assert post.codes == [EX_RECYCLE]
