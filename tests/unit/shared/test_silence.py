"""For how long a process was silent, and when its watcher was asleep instead."""

from datetime import timedelta

import pytest

from shared.processes import silence
from shared.processes.silence import LEAST, MAX_STEP, START_TIMEOUT, Silence, beat_interval, silence_limit
from shared.settings import Settings


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(silence, "time", clock)
    return clock


def wait(clock, one, seconds):
    """Check every second; return whether the silence is too long in the end."""
    for _ in range(seconds):
        clock.now += 1
        is_too_long = one.is_too_long()
    return is_too_long


def settings(lease):
    urls = {"database_url": "postgresql://h/d", "redis_url": "redis://h"}
    return Settings.model_validate({**urls, "lease_ttl": timedelta(seconds=lease)})


def test_a_process_that_is_ready_may_be_silent_for_a_lease(clock):
    one = Silence(20)
    one.end(is_ready=True)
    assert not wait(clock, one, 20)
    assert wait(clock, one, 1)
    one.end(is_ready=False)  # once ready, it stays so
    assert not wait(clock, one, 20)
    assert wait(clock, one, 1)


def test_a_process_that_starts_has_more_time(clock):
    one = Silence(20)
    one.end(is_ready=False)
    assert not wait(clock, one, int(START_TIMEOUT))
    assert wait(clock, one, 1)


def test_a_watcher_that_slept_counts_little_of_it(clock):
    one = Silence(20)
    one.end(is_ready=True)
    clock.now += 3600
    assert not one.is_too_long()
    assert one.seconds == MAX_STEP


def test_the_limit_is_the_lease_and_no_lease_is_too_short_for_it():
    assert silence_limit(settings(30)) == 30
    assert silence_limit(settings(1)) == LEAST
    assert beat_interval(settings(1)) < LEAST / 2
    assert beat_interval(settings(30)) == 1
