"""The laps of a repair, over numbers in the place of rows."""

import itertools

import pytest
from sqlalchemy.orm import sessionmaker

from worker.reconciler import laps
from worker.reconciler.laps import Lap, Repair

SESSIONS = sessionmaker()  # of no database: nothing is executed


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(laps, "BATCH", 3)


class Repairs:
    """Numbers to be repaired, some of which cannot be."""

    def __init__(self, broken, *, hopeless=(), needless=()):
        self.broken = set(broken)
        self.hopeless = set(hopeless)
        self.needless = set(needless)
        self.tried = []
        self._lap = Lap(self._find, self._repair, position_of=lambda number: number)

    def _find(self, _session, *, after, limit):
        return sorted(one for one in self.broken if after is None or one > after)[:limit]

    def _repair(self, _session, one):
        self.tried.append(one)
        if one in self.hopeless:
            return Repair.LEFT
        self.broken.remove(one)
        return Repair.NEEDLESS if one in self.needless else Repair.DONE

    def round(self):
        """Return how many were repaired, and what was tried."""
        self.tried.clear()
        return self._lap.go_on(SESSIONS, lambda: None), list(self.tried)


def test_a_round_repairs_all_that_can_be():
    assert Repairs(range(10)).round() == (10, list(range(10)))


def test_what_cannot_be_repaired_hides_nothing_behind_it():
    repairs = Repairs(range(10), hopeless=range(9))
    assert [repairs.round() for _ in range(4)] == [
        (0, [0, 1, 2]),
        (0, [3, 4, 5]),
        (0, [6, 7, 8]),
        (1, [9]),
    ]
    assert repairs.round() == (0, [0, 1, 2])


def test_a_few_that_cannot_be_repaired_are_passed_in_the_same_round():
    repairs = Repairs(range(8), hopeless=[0, 4])
    assert repairs.round() == (6, list(range(8)))
    assert repairs.round() == (0, [0, 4])


def test_what_needs_no_repair_any_more_does_not_end_a_round():
    assert Repairs(range(10), needless=range(9)).round() == (1, list(range(10)))


def test_a_round_that_takes_long_is_gone_on_with_by_the_next(monkeypatch):
    """Each may wait for a second for what somebody holds."""
    seconds = iter(range(100))
    monkeypatch.setattr(laps.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(laps, "LONGEST", 3)
    repairs = Repairs(range(6), hopeless=range(5))
    tried = [repairs.round()[1] for _ in range(4)]
    assert all(len(each) <= 2 for each in tried)
    assert list(itertools.chain(*tried))[:6] == list(range(6))


def test_a_transaction_that_fails_is_done_again():
    repairs = Repairs(range(4), hopeless=range(3))
    repairs.round()
    assert repairs.tried == [0, 1, 2]
    find, repairs._lap._find = repairs._lap._find, lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        repairs.round()
    repairs._lap._find = find
    assert repairs.round() == (1, [3])
