"""After an outage of PostgreSQL lapsed leases are not judged for the time of a lease."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.settings import Settings
from worker.reconciler.lease_trust import LeaseTrust

START = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL, LEASE, GRACE = 5, 20, 60  # seconds, the defaults


@pytest.fixture
def trust():
    return LeaseTrust(Settings(database_url="postgresql://nowhere/none", redis_url="redis://nowhere"))


def look(trust, *seconds):
    return [trust.can_judge(START + timedelta(seconds=second)) for second in seconds]


def test_at_its_regular_looks_leases_can_be_judged(trust):
    assert look(trust, *range(0, 60, INTERVAL)) == [True] * 12


@pytest.mark.parametrize("gap", [15, 600, -600])
def test_after_a_gap_the_workers_have_the_time_of_a_lease(trust, gap):
    """Also if the clock was set, or another server took over with its own."""
    after = [gap + second for second in (0, 5, 10, 15, 19, LEASE, LEASE + 5)]
    assert look(trust, 0, *after) == [True, *[False] * 5, True, True]


def test_a_second_gap_prolongs_it(trust):
    assert look(trust, 0, 15, 32, 37, 42, 47, 51, 52) == [True, *[False] * 6, True]


def test_gaps_without_end_do_not_keep_runs_lost_for_ever(trust):
    judged = look(trust, *range(0, 1000, 15))
    longest = max(len(run) for run in "".join("x" if ok else "." for ok in judged).split("x"))
    assert 15 * longest < GRACE + LEASE + 15


def test_a_process_that_begins_gives_the_workers_the_time_of_a_lease(trust):
    """PostgreSQL may have been out of reach until just now."""
    trust.begin()
    assert look(trust, 0, 5, 10, 15, 19, LEASE, LEASE + 5) == [*[False] * 5, True, True]


def test_a_gap_after_the_beginning_prolongs_it(trust):
    trust.begin()
    assert look(trust, 0, 15, 20, 25, 30, 34, 35) == [*[False] * 6, True]
