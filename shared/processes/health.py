"""What pulses say: which process of a kind is stopped, wedged or missing, and which is only busy. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from shared.processes.pulse import Fact, Kind, Part, Reading

START_LIMIT: Final = 300.0  # seconds from the pulse of a process to the first turn of its main loop
MISSING_LIMIT: Final = 120.0  # seconds that a supervisor may lack a process; it tries every 30 at the latest


class Unless(Enum):
    """What would excuse a process, and has to be asked for."""

    NOTHING = auto()
    NO_WORK = auto()  # its queues are empty, or Redis does not answer
    DATABASE_AWAY = auto()  # PostgreSQL does not answer


@dataclass(frozen=True, slots=True)
class Fault:
    """A process that should be replaced, unless something excuses it."""

    reading: Reading
    sentence: str
    unless: Unless = Unless.NOTHING


def find_faults(readings: Sequence[Reading], *, now: float) -> list[Fault]:
    """Return the faults of the processes of one kind on this machine.

    A full worker has no fault, nor has one that cannot reach its broker: its main loop turns, or it tries to
    connect.

    Args:
        now: monotonic seconds.
    """
    faults = (next(_faults_of(reading, now), None) for reading in readings)
    return [fault for fault in faults if fault is not None]


def _faults_of(reading: Reading, now: float) -> Iterator[Fault]:
    who = f"{reading.kind} {reading.part} {reading.name} (process {reading.pid})"
    limits = reading.limits
    slots, busy = reading[Fact.SLOTS], reading[Fact.BUSY]
    unless = _excuse_of(reading)

    def is_old(fact: Fact, limit: float | None) -> bool:
        return limit is not None and reading[fact] > 0 and now - reading[fact] > limit

    def ago(fact: Fact) -> str:
        return f"{now - reading[fact]:.0f} s"

    if is_old(Fact.ALIVE, limits.alive):
        yield Fault(reading, f"The {who} has executed nothing for {ago(Fact.ALIVE)}.")
    if reading[Fact.TURN] == 0 and is_old(Fact.CREATED, START_LIMIT):
        yield Fault(reading, f"The {who} has been starting for {ago(Fact.CREATED)}.")
    takes_nothing = unless is Unless.NO_WORK and slots == 0  # it was told so
    if is_old(Fact.TURN, limits.turn) and not takes_nothing:
        yield Fault(reading, f"The main loop of the {who} has not turned for {ago(Fact.TURN)}.", unless)
    if is_old(Fact.MISSING, MISSING_LIMIT):
        yield Fault(reading, f"The {who} has lacked a process for {ago(Fact.MISSING)}.")
    if is_old(Fact.INTAKE, limits.intake) and is_old(Fact.ROOM, limits.intake):
        free = f"{slots - busy:.0f} of {slots:.0f} slots free"
        sentence = f"The {who} has taken nothing for {ago(Fact.INTAKE)}, with runs waiting and {free}."
        yield Fault(reading, sentence, unless)


def _excuse_of(reading: Reading) -> Unless:
    if reading.kind is Kind.WORKER and reading.part is Part.PROCESS:
        return Unless.NO_WORK
    return Unless.DATABASE_AWAY if reading.kind is Kind.RECONCILER else Unless.NOTHING


def summary(readings: Sequence[Reading]) -> str:
    """One line about healthy processes of a kind."""
    kind = readings[0].kind
    processes = sum(reading.part is Part.PROCESS for reading in readings)
    slots = sum(reading[Fact.SLOTS] for reading in readings)
    busy = sum(reading[Fact.BUSY] for reading in readings)
    count = "1 process" if processes == 1 else f"{processes} processes"
    return f"healthy: {kind}, {count}" + (f", {busy:.0f} of {slots:.0f} slots busy" if slots else "")
