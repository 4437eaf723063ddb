"""The pace of the echo model."""

import time
from types import SimpleNamespace

import pytest

from worker.executors.griptape.providers.echo import Echo


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for those who wait, who wake 4 ms late."""
    clock = SimpleNamespace(now=100.0)

    def wait(seconds):
        clock.now += seconds + 0.004

    clock.wait = wait
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def words(clock):
    """The frames of an answer of a hundred words, ten a second."""
    echo = object.__new__(Echo)
    echo._words_per_second = 10.0
    echo._token = SimpleNamespace(wait=clock.wait, raise_if_cancelled=lambda: None)
    return echo._words("word " * 100)


def test_a_word_is_said_when_it_is_due_whatever_came_before(clock, words):
    for number, frame in enumerate(words):
        assert "word" in frame or number == 100
        assert clock.now == pytest.approx(100 + number / 10, abs=0.06)
        clock.now += 0.05  # its reader takes that long
    assert number == 100


def test_a_reader_who_was_held_up_gets_what_is_due_at_once(clock, words):
    next(words)
    clock.now += 1.0
    for _ in range(9):
        next(words)
    assert clock.now == pytest.approx(101.0, abs=0.06)
    next(words)
    next(words)
    assert clock.now == pytest.approx(101.1, abs=0.06)
