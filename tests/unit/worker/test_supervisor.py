"""When a process that ended is started again."""

from typing import Any, cast

import pytest

from shared.settings import Settings
from worker.lifeline import EX_RECYCLE
from worker.options import SupervisorOptions
from worker.supervisor import PAUSE_FIRST, PAUSE_MOST, YOUNG, Child, Place, Supervisor


def place_of(started_at: float, place: Place | None = None) -> Place:
    place = place or Place()
    place.child = Child(cast("Any", None), cast("Any", None), 1, started_at)
    return place


def test_process_that_worked_for_a_while_is_replaced_at_once() -> None:
    place = place_of(started_at=100)
    assert place.vacate(100 + YOUNG, code=-9) == 0
    assert place.due == 100 + YOUNG
    assert place.child is None


def test_process_that_dies_young_again_and_again_is_started_ever_more_rarely() -> None:
    place = Place()
    pauses = [place_of(100, place).vacate(101, code=1) for _ in range(3000)]
    assert pauses[:3] == [PAUSE_FIRST, 2 * PAUSE_FIRST, 4 * PAUSE_FIRST]
    assert pauses[-1] == PAUSE_MOST


def test_one_that_lived_clears_the_record() -> None:
    place = Place()
    for ended_at in (101, 101, 200):
        place_of(100, place).vacate(ended_at, code=1)
    assert place_of(100, place).vacate(101, code=1) == PAUSE_FIRST


@pytest.mark.parametrize("age", [0, 1000])
def test_recycled_process_is_replaced_at_once_whatever_its_age(age: float) -> None:
    assert place_of(started_at=100).vacate(100 + age, code=EX_RECYCLE) == 0


def test_machine_that_starts_no_process_is_asked_again_later() -> None:
    settings = Settings.model_validate(
        {"database_url": "postgresql://nowhere/none", "redis_url": "redis://nowhere/0"}
    )
    supervisor = Supervisor(
        SupervisorOptions.parse(settings, []), settings, command=lambda _: ["/nowhere/no-such-program"]
    )
    supervisor._start_due()
    (place,) = supervisor._places
    assert place.child is None
    assert place.early_deaths == 1
