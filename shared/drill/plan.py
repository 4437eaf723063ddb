"""What a drill is going to do, drawn from its seed before it begins."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.runs.lifecycle import RunKind

WORDS: Final = (3, 30)  # of an ordinary run
LONG_WORDS: Final = (60, 150)  # of one that is to live through a fault
LONG_SHARE: Final = 0.1
THREAD_SHARE: Final = 0.1
KEY_SHARE: Final = 0.2
RUNS_PER_THREAD: Final = 8
STRUCTURE_SHARE: Final = 0.15  # runs of a structure, each a process of its own
CANCEL_WITHIN: Final = 3.0  # seconds after a run was accepted
RESTLESS_SHARE: Final = 0.4  # readers that leave and come back
LEAVE_AFTER: Final = (1, 12)  # events
LATE_WITHIN: Final = 4.0  # seconds until a reader that comes late does
LEAD: Final = 3.0  # seconds of load before the first fault
SHORTEST_GAP: Final = 2.0  # seconds between two faults


@dataclass(frozen=True, slots=True)
class PlannedReader:
    """One who follows a run."""

    comes_after: float  # seconds
    leaves_after: tuple[int, ...]  # events it takes before it reconnects, one number a connection


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of the load."""

    number: int
    at: float  # seconds after the start
    kind: RunKind
    words: int
    thread: int | None  # the number of the thread it is on
    cancel_after: float | None  # seconds after it was accepted
    repeats: int  # further submissions with the same Idempotency-Key; 0 for none, and no key
    readers: tuple[PlannedReader, ...]


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of the schedule."""

    name: str
    gap: float  # seconds of peace before it
    seed: int  # of what it draws itself


@dataclass(frozen=True, slots=True)
class Plan:
    """All of a drill."""

    runs: Sequence[PlannedRun]
    threads: int
    faults: Sequence[PlannedFault]


def make_plan(
    *,
    seed: int,
    runs: int,
    duration: float,
    faults: Sequence[tuple[str, float]],
    readers: int,
    cancels: float,
) -> Plan:
    """Draw a plan; the same arguments make the same plan.

    Args:
        seed: where the draw begins.
        runs: how many to submit.
        duration: seconds over which load and faults are spread. Every fault is planned once at
            least, however short that is.
        faults: the name of each, and the seconds it is expected to take.
        readers: of each run.
        cancels: the share of runs to cancel, from 0 to 1.
    """
    draw = random.Random(seed)  # noqa: S311  # to be repeated, not to be secret
    threads = max(1, round(runs * THREAD_SHARE / RUNS_PER_THREAD))
    return Plan(
        runs=[
            _run(draw, number, at=duration * number / runs, threads=threads, readers=readers, cancels=cancels)
            for number in range(runs)
        ],
        threads=threads,
        faults=_schedule(draw, duration, faults),
    )


def _run(
    draw: random.Random, number: int, *, at: float, threads: int, readers: int, cancels: float
) -> PlannedRun:
    words = draw.randint(*(LONG_WORDS if draw.random() < LONG_SHARE else WORDS))
    kind = RunKind.STRUCTURE if draw.random() < STRUCTURE_SHARE else RunKind.ASSISTANT
    thread = draw.randrange(threads) if draw.random() < THREAD_SHARE else None
    return PlannedRun(
        number=number,
        at=at,
        kind=kind,
        words=words,
        thread=thread if kind is RunKind.ASSISTANT else None,
        cancel_after=draw.uniform(0, CANCEL_WITHIN) if draw.random() < cancels else None,
        repeats=draw.randint(1, 2) if draw.random() < KEY_SHARE else 0,
        readers=tuple(_reader(draw, index) for index in range(readers)),
    )


def _reader(draw: random.Random, index: int) -> PlannedReader:
    is_restless = draw.random() < RESTLESS_SHARE
    leaves = tuple(draw.randint(*LEAVE_AFTER) for _ in range(3)) if is_restless else ()
    return PlannedReader(comes_after=0.0 if index == 0 else draw.uniform(0, LATE_WITHIN), leaves_after=leaves)


def _schedule(
    draw: random.Random, duration: float, faults: Sequence[tuple[str, float]]
) -> list[PlannedFault]:
    """Shuffled rounds of all faults, one round at least, with what time is left as pauses between them."""
    if not faults:
        return []
    chosen: list[tuple[str, float]] = []
    taken = LEAD
    while True:
        for name, takes in draw.sample(faults, len(faults)):
            if len(chosen) >= len(faults) and taken + takes + SHORTEST_GAP > duration:
                return _spaced(draw, chosen, spare=duration - taken)
            chosen.append((name, takes))
            taken += takes + SHORTEST_GAP


def _spaced(draw: random.Random, chosen: Sequence[tuple[str, float]], *, spare: float) -> list[PlannedFault]:
    extra = max(0.0, spare) / len(chosen)
    return [
        PlannedFault(
            name,
            gap=(SHORTEST_GAP if index else LEAD) + draw.uniform(0, 2 * extra),
            seed=draw.getrandbits(32),
        )
        for index, (name, _) in enumerate(chosen)
    ]
