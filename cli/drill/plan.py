"""The plan of a drill: load and faults, drawn from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.lifecycle import RunKind

WORDS: Final = (3, 30)  # of an ordinary run
LONG_WORDS: Final = (60, 150)  # of one that is to last through a fault
LONG_SHARE: Final = 0.1
THREAD_SHARE: Final = 0.1
KEY_SHARE: Final = 0.2
RUNS_PER_THREAD: Final = 8
STRUCTURE_SHARE: Final = 0.15  # runs of a structure, each a process of its own
MAX_CANCEL_DELAY: Final = 3.0  # seconds after a run was accepted
RECONNECTING_SHARE: Final = 0.4  # readers that leave and reconnect
EVENTS_PER_CONNECTION: Final = (1, 12)  # of such a reader, least and most
MAX_READER_DELAY: Final = 4.0  # seconds until a late reader connects
FIRST_FAULT_DELAY: Final = 3.0  # seconds of load
MIN_FAULT_INTERVAL: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class PlannedReader:
    """A reader of a run's event stream."""

    comes_after: float  # seconds
    leaves_after: tuple[int, ...]  # events per connection before it reconnects


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of the load."""

    number: int
    at: float  # seconds after the start
    kind: RunKind
    words: int
    thread: int | None  # number of its thread
    cancel_after: float | None  # seconds after it was accepted
    repeats: int  # further submissions with one Idempotency-Key; 0 for none, without a key
    readers: tuple[PlannedReader, ...]


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of the schedule."""

    name: str
    gap: float  # seconds since the end of the last one
    seed: int  # of its own draws


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole drill."""

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
    """Draw a plan. The same arguments make the same plan.

    Args:
        seed: the seed of all draws.
        runs: the number of runs to submit.
        duration: seconds over which load and faults are spread. Every fault is planned at least
            once, also beyond them.
        faults: name and expected seconds of each.
        readers: the number of readers per run.
        cancels: the share of runs to cancel, from 0 to 1.
    """
    draw = random.Random(seed)  # noqa: S311  # reproducible, not secret
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
    cancel_after = draw.uniform(0, MAX_CANCEL_DELAY) if draw.random() < cancels else None
    repeats = draw.randint(1, 2) if draw.random() < KEY_SHARE else 0
    planned_readers = []
    for index in range(readers):
        reconnects = draw.random() < RECONNECTING_SHARE
        leaves = tuple(draw.randint(*EVENTS_PER_CONNECTION) for _ in range(3)) if reconnects else ()
        comes_after = 0.0 if index == 0 else draw.uniform(0, MAX_READER_DELAY)
        planned_readers.append(PlannedReader(comes_after, leaves))
    return PlannedRun(
        number=number,
        at=at,
        kind=kind,
        words=words,
        thread=thread if kind is RunKind.ASSISTANT else None,
        cancel_after=cancel_after,
        repeats=repeats,
        readers=tuple(planned_readers),
    )


def _schedule(
    draw: random.Random, duration: float, faults: Sequence[tuple[str, float]]
) -> list[PlannedFault]:
    """Return shuffled rounds of all faults, at least one round, with the spare time as pauses."""
    if not faults:
        return []
    chosen: list[str] = []
    taken = FIRST_FAULT_DELAY
    while True:
        for name, takes in draw.sample(faults, len(faults)):
            if len(chosen) >= len(faults) and taken + takes + MIN_FAULT_INTERVAL > duration:
                extra = max(0.0, duration - taken) / len(chosen)
                return [
                    PlannedFault(
                        chosen_name,
                        gap=(MIN_FAULT_INTERVAL if index else FIRST_FAULT_DELAY) + draw.uniform(0, 2 * extra),
                        seed=draw.getrandbits(32),
                    )
                    for index, chosen_name in enumerate(chosen)
                ]
            chosen.append(name)
            taken += takes + MIN_FAULT_INTERVAL
