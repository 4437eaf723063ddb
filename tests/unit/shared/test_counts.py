"""Counts of quotas: one create counts anew, and the others do not wait for it."""

import uuid
from types import SimpleNamespace

import pytest

from shared.organizations import quotas

ORGANIZATION = uuid.uuid4()


@pytest.fixture
def at(monkeypatch):
    """Set the clock to so many seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(quotas, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(quotas, "_renewals", {})

    def at(seconds):
        clock.now = seconds

    return at


def takes(counts, creates):
    """Whether each of some creates finds room by what is known."""
    return [counts.takes_known_room("queued", ORGANIZATION, limit=10) for _ in range(creates)]


def test_of_creates_that_find_a_count_too_old_one_counts_and_the_others_rely_on_it(at):
    counts = quotas._Counts()
    counts._known["queued", ORGANIZATION] = 0.0, 3
    at(quotas.COUNT_TTL)
    assert takes(counts, 2) == [True, True]
    at(quotas.COUNT_TTL + 0.5)
    assert takes(counts, 3) == [False, True, True]
    at(quotas.COUNT_TTL + 0.5 + quotas.COUNT_PATIENCE)
    assert takes(counts, 2) == [False, False]


def test_without_room_nobody_relies_on_a_count(at):
    counts = quotas._Counts()
    counts._known["queued", ORGANIZATION] = 0.0, 10
    at(1.0)
    assert takes(counts, 1) == [False]


def test_what_was_never_counted_is_counted_first(at):
    at(1000.0)
    assert takes(quotas._Counts(), 3) == [False, False, False]
