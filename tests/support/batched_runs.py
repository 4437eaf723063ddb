"""Runs that say numbered words, for tests of how these are stored."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta

from shared.lifecycle import Reason, StatusDetail
from shared.models import Run
from tests.support.slots import FakeSlot
from tests.support.waiting import wait_until
from worker.attempt.conclusion import Ending
from worker.executors.base import ExecutorEvent, Succeeded

PATIENCE = 60
MANY = 40
ANSWER = {"type": "TextArtifact", "id": "a", "name": "a", "meta": {}, "reference": None, "value": "hello"}
DETAIL = StatusDetail(Reason.COMPLETED, "It is done.")

SELDOM = {
    "event_flush": timedelta(minutes=1),
    "heartbeat": timedelta(minutes=1),
    "lease_ttl": timedelta(minutes=5),
}
"""Settings under which nothing happens because of time alone."""


@dataclass
class Execution:
    """A run that is being executed in a thread."""

    run: Run
    slot: FakeSlot
    thread: threading.Thread
    ending: Ending | None = None

    def join(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the run never ended"
        return self.ending


@dataclass
class Speaking:
    """An executor that says a word which is stored, then one that waits for its batch."""

    spoken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    more: threading.Event = field(default_factory=threading.Event)

    def __call__(self, context, emit):
        emit(say(0))
        assert self.more.wait(PATIENCE)
        emit(say(1))
        self.spoken.release()
        context.token.wait(PATIENCE)
        context.token.raise_if_cancelled()

    def go_on(self, runs, events_of):
        """Say the second word in each run, once the first is stored."""
        wait_until(lambda: all(numbers_of(events_of(run)) == [0] for run in runs), timeout=PATIENCE)
        self.more.set()
        assert all(self.spoken.acquire(timeout=PATIENCE) for _ in runs)


def say(number, **payload):
    return ExecutorEvent("Word", {"type": "Word", "number": number, **payload})


def answering(count=0):
    def executor(_context, emit):
        for number in range(count):
            emit(say(number))
        return Succeeded(ANSWER)

    return executor


def numbers_of(events):
    return [one.payload["number"] for one in events if one.type == "Word"]


def check_whole(events, numbers):
    """Fail unless a log has no hole, one end, and these words in order."""
    assert [one.seq for one in events] == list(range(len(events)))
    assert numbers_of(events) == list(numbers)
    assert [one.is_last for one in events] == [False] * (len(events) - 1) + [True]


TIMES = ("id", "timestamp", "started_at", "completed_at", "requested_at", "stopped_at", "runtime")


def masked(value, run):
    """A value without what differs from run to run."""
    match value:
        case dict():
            varies = {*TIMES, "name"} if value.get("name") == value.get("id") else TIMES
            return {key: "*" if key in varies else masked(item, run) for key, item in value.items()}
        case list() | tuple():
            return [masked(item, run) for item in value]
        case str():
            return value.replace(str(run.id), "RUN").replace(run.id.hex, "RUN")
        case _:
            return value


def let_die(writer):
    """Let a batch writer be dead from the beginning, so that every run writes alone."""
    writer._is_dead = True
