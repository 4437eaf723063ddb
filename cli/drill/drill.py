"""One drill: load in its own thread, faults from the main thread, then a final read and the verdicts."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx2

from cli.drill.caller import Caller
from cli.drill.checks import Verdict, judge
from cli.drill.database import ask_database
from cli.drill.faults import FAULTS, Fault, FaultFailedError, Timings
from cli.drill.load import Load
from cli.drill.plan import Plan, PlannedFault
from cli.drill.record import Facts, FaultRecord, RunRecord
from cli.drill.target import Target
from cli.listing import counted
from shared.errors import RunyardError

POLL_INTERVAL: Final = 0.1  # seconds
RECOVERY_TIMEOUT: Final = 60.0  # seconds from the end of a fault until the system is whole again
FINAL_READ_TIMEOUT: Final = 120.0  # seconds

Print = Callable[[str], None]


class DrillStoppedError(RunyardError):
    """The drill was stopped before its end."""


@dataclass(slots=True)
class Result:
    """What a drill observed, and its verdicts."""

    facts: Facts
    verdicts: list[Verdict]
    took: float  # seconds

    @property
    def is_kept(self) -> bool:
        """Whether no promise was broken."""
        return all(verdict.is_kept for verdict in self.verdicts)


@dataclass(slots=True)
class _Signals:
    """Events between the two threads."""

    submitted: threading.Event = field(default_factory=threading.Event)
    healed: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


class Drill:
    """Executes a plan on a target. `run` belongs into the main thread, where it restarts dead processes."""

    def __init__(self, target: Target, plan: Plan, timings: Timings, *, bound: float, say: Print) -> None:
        self._target = target
        self._plan = plan
        self._timings = timings
        self._bound = bound
        self._say = say
        self._facts = Facts(runs=[RunRecord(run) for run in plan.runs])
        self._signals = _Signals()
        self._failure: BaseException | None = None
        self._start = time.monotonic()

    def run(self, stopping: threading.Event) -> Result:
        """Execute the plan and judge the promises.

        Raises:
            DrillStoppedError: `stopping` was set.
        """
        load = threading.Thread(target=self._load, name="drill-load", daemon=True)
        load.start()
        try:
            injected: set[str] = set()
            for planned in self._plan.faults:
                # After the load's end, only the kinds that were not injected yet.
                if not (self._signals.submitted.is_set() and planned.name in injected):
                    self._wait(planned.gap, stopping)
                    self._inject(planned, stopping)
                    injected.add(planned.name)
            while not self._signals.submitted.is_set() and load.is_alive():
                self._wait(POLL_INTERVAL, stopping)
            self._signals.healed.set()
            while load.is_alive():
                self._wait(POLL_INTERVAL, stopping)
        finally:
            self._signals.stop.set()
        if self._failure is not None:
            raise self._failure
        ask_database(self._target.database_url, self._facts)
        return Result(self._facts, judge(self._facts), self._now())

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _wait(self, seconds: float, stopping: threading.Event) -> None:
        until = time.monotonic() + seconds
        while True:
            self._target.tick()
            if stopping.wait(min(POLL_INTERVAL, max(0.0, until - time.monotonic()))):
                raise DrillStoppedError
            if time.monotonic() >= until:
                return

    def _inject(self, planned: PlannedFault, stopping: threading.Event) -> None:
        draw = random.Random(planned.seed)  # noqa: S311  # reproducible, not secret
        fault = FAULTS[planned.name](self._target, self._timings, draw)
        kinds = sorted(fault.traits, key=lambda kind: kind.name)
        now = self._now()
        record = FaultRecord(
            name=fault.name,
            consists_of=tuple(kind.name for kind in kinds),
            hurts_api=any(kind.hurts_api for kind in kinds),
            loses_worker=any(kind.loses_worker for kind in kinds),
            injected_at=now,
            healed_at=now,
        )
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
        """Wait until all parts are there and the API is ready, which needs PostgreSQL and Redis."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        with httpx2.Client(trust_env=False, timeout=2) as client:
            while time.monotonic() < deadline:
                self._wait(POLL_INTERVAL, stopping)
                try:
                    is_ready = client.get(f"{self._target.api_url}/health/ready").is_success
                except httpx2.TransportError:
                    continue
                if is_ready and fault.is_over():
                    record.whole_at = self._now()
                    return

    def _load(self) -> None:
        try:
            asyncio.run(self._run_load())
        except BaseException as error:  # noqa: BLE001  # raised in the main thread
            self._failure = error

    async def _run_load(self) -> None:
        caller = Caller(self._target.api_url, self._target.api_key, self._facts.answers)
        async with caller.http:
            work = asyncio.create_task(self._work(caller))
            while not work.done() and not self._signals.stop.is_set():
                await asyncio.wait({work}, timeout=POLL_INTERVAL)
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            else:
                work.result()

    async def _work(self, caller: Caller) -> None:
        load = Load(caller, self._plan, self._facts, now=self._now)
        await load.prepare()
        await load.submit_all()
        self._say(f"{self._now():6.1f} s  accepted: {counted(len(self._facts.runs), 'run')}")
        self._signals.submitted.set()
        while not self._signals.healed.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(POLL_INTERVAL)
        self._say(f"{self._now():6.1f} s  no more faults; the last runs have {self._bound:.0f} s to end")
        await load.settle(self._bound)
        self._say(f"{self._now():6.1f} s  settled after {self._facts.settled_in:.1f} s; final read")
        await load.read_final(FINAL_READ_TIMEOUT)
