"""What pulses say: stopped, wedged and missing processes are faults; busy ones and outages are not."""

import pytest

from shared.processes.health import MISSING_LIMIT, START_LIMIT, Unless, find_faults, summary
from shared.processes.pulse import Fact, Kind, Limits, Part, Reading

NOW = 10_000.0
LIMITS = Limits(turn=90, alive=40, intake=90)
FREE = {Fact.SLOTS: 4, Fact.BUSY: 1, Fact.ROOM: NOW - 1}


def reading(kind=Kind.WORKER, part=Part.PROCESS, limits=LIMITS, **ages):
    """A healthy process, but for the facts that are given: times as seconds ago, None for never."""
    facts = [0.0] * len(Fact)
    known = {
        "CREATED": 500,
        "ALIVE": 0.5,
        "TURN": 0.5,
        "INTAKE": 0.5,
        "ROOM": 300,
        "SLOTS": 4,
        "BUSY": 1,
        **ages,
    }
    for name, value in known.items():
        fact = Fact[name]
        is_number = fact in {Fact.SLOTS, Fact.BUSY}
        facts[fact] = 0.0 if value is None else value if is_number else NOW - value
    return Reading(kind, part, "blue", 7, ("runs",), limits, tuple(facts))


def faults(one):
    return find_faults([one], now=NOW)


@pytest.mark.parametrize(
    "ages",
    [
        {},
        {"INTAKE": 3000, "ROOM": None, "BUSY": 4},  # every slot has been busy for an hour
        {"INTAKE": 3000, "ROOM": 2},  # one has just become free
        {"INTAKE": 3000, "ROOM": None, "SLOTS": 0},  # it drains, and its runs take their time
        {"TURN": 3000, "SLOTS": 0, "ROOM": None},  # it drains, and waits for their end
        {"TURN": None, "INTAKE": None, "ROOM": None, "SLOTS": 0, "CREATED": START_LIMIT - 1},  # it starts
    ],
)
def test_a_worker_that_is_busy_drains_or_starts_is_healthy(ages):
    assert faults(reading(**ages)) == []


@pytest.mark.parametrize(
    ("ages", "said", "unless"),
    [
        ({"ALIVE": 41}, "has executed nothing for 41 s", Unless.NOTHING),
        ({"ALIVE": 41, "SLOTS": 0}, "has executed nothing for 41 s", Unless.NOTHING),
        ({"TURN": None, "CREATED": START_LIMIT + 1}, "has been starting for 301 s", Unless.NOTHING),
        ({"TURN": 91}, "has not turned for 91 s", Unless.NO_WORK),
        (
            {"INTAKE": 91},
            "has taken nothing for 91 s, with runs waiting and 3 of 4 slots free",
            Unless.NO_WORK,
        ),
    ],
)
def test_a_worker_that_is_stopped_or_wedged_is_a_fault(ages, said, unless):
    (fault,) = faults(reading(**ages))
    assert said in fault.sentence
    assert "worker process blue (process 7)" in fault.sentence
    assert fault.unless is unless


def test_a_supervisor_has_to_turn_and_to_have_its_processes():
    def supervisor(**ages):
        own = {"ALIVE": None, "INTAKE": None, "ROOM": None, "SLOTS": None, "BUSY": None}
        return reading(part=Part.SUPERVISOR, limits=Limits(turn=40), **{**own, **ages})

    assert faults(supervisor()) == []
    assert faults(supervisor(MISSING=MISSING_LIMIT - 1)) == []
    for ages in ({"TURN": 41}, {"MISSING": MISSING_LIMIT + 1}):
        (fault,) = faults(supervisor(**ages))
        assert fault.unless is Unless.NOTHING


def test_a_reconciler_may_wait_for_a_database_that_is_away():
    (fault,) = faults(reading(Kind.RECONCILER, TURN=91))
    assert fault.unless is Unless.DATABASE_AWAY
    (fault,) = faults(reading(Kind.RECONCILER, ALIVE=41))
    assert fault.unless is Unless.NOTHING


def test_a_summary_counts_processes_and_slots():
    two = [reading(), reading(part=Part.SUPERVISOR, SLOTS=None, BUSY=None), reading(BUSY=4)]
    assert summary(two) == "healthy: worker, 2 processes, 5 of 8 slots busy"
    assert summary([reading(Kind.FLOWER, SLOTS=None, BUSY=None)]) == "healthy: flower, 1 process"
