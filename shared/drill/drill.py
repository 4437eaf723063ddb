"""One drill: load in a thread of its own, faults from this one, then a last look and the verdicts."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx2

from shared.drill.caller import Caller
from shared.drill.checks import Verdict, judge
from shared.drill.database import ask_database
from shared.drill.faults import FAULTS, Clock, Fault, FaultFailedError
from shared.drill.load import Load
from shared.drill.plan import Plan, PlannedFault
from shared.drill.record import Facts, FaultRecord, RunRecord
from shared.drill.target import Target
from shared.errors import RunyardError

TICK: Final = 0.1  # seconds between two looks at the processes
WHOLE_WITHIN: Final = 60.0  # seconds a system has to be whole again after a fault
LAST_LOOK: Final = 120.0  # seconds

Say = Callable[[str], None]


class DrillStoppedError(RunyardError):
    """The drill was stopped before its end."""


@dataclass(slots=True)
class Result:
    """What a drill found."""

    facts: Facts
    verdicts: list[Verdict]
    took: float  # seconds

    @property
    def is_kept(self) -> bool:
        """Whether no promise was broken."""
        return all(verdict.is_kept for verdict in self.verdicts)


@dataclass(slots=True)
class _Signals:
    """What the two threads tell each other."""

    submitted: threading.Event = field(default_factory=threading.Event)
    healed: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


class Drill:
    """Carries out a plan on a target. `run` is for the main thread: it keeps the target alive."""

    def __init__(self, target: Target, plan: Plan, clock: Clock, *, bound: float, say: Say) -> None:
        self._target = target
        self._plan = plan
        self._clock = clock
        self._bound = bound
        self._say = say
        self._facts = Facts(runs=[RunRecord(run) for run in plan.runs])
        self._signals = _Signals()
        self._failure: BaseException | None = None
        self._start = time.monotonic()

    def run(self, stopping: threading.Event) -> Result:
        """Do it all.

        Raises:
            DrillStoppedError: `stopping` was set.
        """
        load = threading.Thread(target=self._load, name="drill-load", daemon=True)
        load.start()
        try:
            self._inject_all(stopping)
            while not self._signals.submitted.is_set() and load.is_alive():
                self._wait(TICK, stopping)
            self._signals.healed.set()
            while load.is_alive():
                self._wait(TICK, stopping)
        finally:
            self._signals.stop.set()
        if self._failure is not None:
            raise self._failure
        ask_database(self._target.database_url, self._facts)
        return Result(self._facts, judge(self._facts), self._now())

    def _inject_all(self, stopping: threading.Event) -> None:
        """Go through the schedule; once there is no more load, only what has not been seen yet."""
        injected: set[str] = set()
        for planned in self._plan.faults:
            if not (self._signals.submitted.is_set() and planned.name in injected):
                self._wait(planned.gap, stopping)
                self._one_fault(planned, stopping)
                injected.add(planned.name)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _wait(self, seconds: float, stopping: threading.Event) -> None:
        until = time.monotonic() + seconds
        while True:
            self._target.tick()
            if stopping.wait(min(TICK, max(0.0, until - time.monotonic()))):
                raise DrillStoppedError
            if time.monotonic() >= until:
                return

    def _one_fault(self, planned: PlannedFault, stopping: threading.Event) -> None:
        draw = random.Random(planned.seed)  # noqa: S311  # to be repeated, not to be secret
        fault = FAULTS[planned.name](self._target, self._clock, draw)
        record = _record(fault, self._now())
        self._facts.faults.append(record)
        self._say(f"{record.injected_at:6.1f} s  {' + '.join(record.consists_of)}")
        try:
            fault.inject()
            self._wait(fault.hold, stopping)
        except FaultFailedError as error:
            record.error = error.message
        finally:
            fault.heal()
            record.healed_at = self._now()
        if record.error is None:
            self._wait_until_whole(fault, record, stopping)

    def _wait_until_whole(self, fault: Fault, record: FaultRecord, stopping: threading.Event) -> None:
        """Wait until all parts are there, and the API is ready, which takes PostgreSQL and Redis."""
        deadline = time.monotonic() + WHOLE_WITHIN
        with httpx2.Client(trust_env=False, timeout=2) as client:
            while time.monotonic() < deadline:
                self._wait(TICK, stopping)
                try:
                    is_ready = client.get(f"{self._target.api_url}/health/ready").is_success
                except httpx2.TransportError:
                    continue
                if is_ready and fault.is_over():
                    record.whole_at = self._now()
                    return

    def _load(self) -> None:
        try:
            asyncio.run(self._load_and_look())
        except BaseException as error:  # noqa: BLE001  # raised in the main thread
            self._failure = error

    async def _load_and_look(self) -> None:
        caller = Caller(self._target.api_url, self._target.api_key, self._facts.answers)
        async with caller.http:
            work = asyncio.create_task(self._all_of_the_load(caller))
            while not work.done() and not self._signals.stop.is_set():
                await asyncio.wait({work}, timeout=TICK)
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            else:
                work.result()

    async def _all_of_the_load(self, caller: Caller) -> None:
        load = Load(caller, self._plan, self._facts, now=self._now)
        await load.prepare()
        await load.submit_all()
        self._say(f"{self._now():6.1f} s  all {len(self._facts.runs)} runs are accepted")
        self._signals.submitted.set()
        while not self._signals.healed.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(TICK)
        self._say(f"{self._now():6.1f} s  no more faults; the last runs have {self._bound:.0f} s to end")
        await load.settle(self._bound)
        self._say(f"{self._now():6.1f} s  settled after {self._facts.settled_in:.1f} s; a last look")
        await load.look_again(LAST_LOOK)


def _record(fault: Fault, now: float) -> FaultRecord:
    kinds = sorted(fault.traits, key=lambda kind: kind.name)
    return FaultRecord(
        name=fault.name,
        consists_of=tuple(kind.name for kind in kinds),
        hurts_api=any(kind.hurts_api for kind in kinds),
        loses_worker=any(kind.loses_worker for kind in kinds),
        injected_at=now,
        healed_at=now,
    )
