"""The faults a drill injects, each from outside: by signals, and by what Redis itself offers."""

import random
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

import psutil
import redis

from shared.drill.target import RESTARTS, Target
from shared.errors import RunyardError
from shared.processes.child import descendants
from shared.redis_address import parse_redis_address

REDIS_TIMEOUT: Final = 3.0  # seconds
TOGETHER: Final = (2, 3)  # faults that `several` draws


class FaultFailedError(RunyardError):
    """A fault could not be injected."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The system's times that faults are measured by, in seconds."""

    lease_ttl: float
    reconcile_interval: float


class Fault(ABC):
    """Something that goes wrong: injected, held for a while, healed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    hurts_api: ClassVar[bool] = False  # streams may break, and connections be refused
    loses_worker: ClassVar[bool] = False  # a run may end ERROR, WorkerLost

    def __init__(self, target: Target, clock: Clock, draw: random.Random) -> None:
        self._target = target
        self._clock = clock
        self._draw = draw

    @classmethod
    def expected_hold(cls, clock: Clock) -> float:
        """The seconds between injecting and healing; 0 for what is over when it has happened."""
        del clock
        return 0.0

    @property
    def traits(self) -> frozenset[type["Fault"]]:
        """The kinds of fault this one consists of."""
        return frozenset({type(self)})

    @property
    def hold(self) -> float:
        return self.expected_hold(self._clock)

    @abstractmethod
    def inject(self) -> None:
        """Do the harm.

        Raises:
            FaultFailedError: what it aims at is not there.
        """

    def heal(self) -> None:  # noqa: B027  # most faults are over when they have happened
        """Undo it, as far as nobody else does."""

    def is_over(self) -> bool:
        """Whether the parts it hit are there again; told apart from whether they can serve."""
        return True

    def _process(self, name: str) -> psutil.Process:
        pid = self._target.pid(name)
        try:
            if pid is not None:
                return psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise FaultFailedError(f"There is no process {pid} ({name}).") from error
        raise FaultFailedError(f"The process id of {name} is not known.")


class Signalled(Fault):
    """A signal to one part of the system, with or without what it has started."""

    part: ClassVar[str]
    number: ClassVar[signal.Signals] = signal.SIGKILL

    def inject(self) -> None:
        process = self._process(self.part)
        victims = self._victims(process)
        if not victims:
            raise FaultFailedError(f"{self.part} has no process to send {self.number.name} to.")
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(self.number)
        self._hit = victims

    def is_over(self) -> bool:
        """Whether what was hit has ended, which a drain takes time for, and has its successors."""
        try:
            return not any(map(_is_alive, self._hit)) and bool(self._victims(self._process(self.part)))
        except (FaultFailedError, psutil.NoSuchProcess):
            return False

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        return [process]


class Frozen(Fault):
    """A part of the system, with all it has started, stands still and goes on later."""

    part: ClassVar[str]

    @classmethod
    def expected_hold(cls, clock: Clock) -> float:
        return clock.lease_ttl + 2

    def inject(self) -> None:
        process = self._process(self.part)
        self._still = [process, *descendants(process.pid)]
        for each in self._still:
            with suppress(psutil.NoSuchProcess):
                each.suspend()

    def heal(self) -> None:
        for each in self._still:
            with suppress(psutil.NoSuchProcess):
                each.resume()


class WorkerKill(Signalled):
    name = "worker-kill"
    summary = "SIGKILL to the worker processes; their supervisor starts others."
    needs = frozenset({"worker"})
    loses_worker = True
    part = "worker"

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        return descendants(process.pid)


class WorkerLoss(Signalled):
    name = "worker-loss"
    summary = "SIGKILL to the worker's supervisor and its processes at once, as when a machine is lost."
    needs = frozenset({"worker", RESTARTS})
    loses_worker = True
    part = "worker"

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        return [process, *descendants(process.pid)]


class WorkerFreeze(Frozen):
    name = "worker-freeze"
    summary = "SIGSTOP to the worker until its leases have run out, then SIGCONT."
    needs = frozenset({"worker"})
    loses_worker = True
    part = "worker"

    @classmethod
    def expected_hold(cls, clock: Clock) -> float:
        return 2 * clock.lease_ttl + 2 * clock.reconcile_interval


class WorkerDrain(Signalled):
    name = "worker-drain"
    summary = "SIGTERM to the worker, as in a deploy: it drains, and is started again."
    needs = frozenset({"worker", RESTARTS})
    part = "worker"
    number = signal.SIGTERM


class ReconcilerKill(Signalled):
    name = "reconciler-kill"
    summary = "SIGKILL to the reconciler."
    needs = frozenset({"reconciler", RESTARTS})
    part = "reconciler"


class ApiKill(Signalled):
    name = "api-kill"
    summary = "SIGKILL to the API; every stream breaks."
    needs = frozenset({"api", RESTARTS})
    hurts_api = True
    part = "api"


class ApiRestart(Signalled):
    name = "api-restart"
    summary = "SIGTERM to the API, as in a deploy."
    needs = frozenset({"api", RESTARTS})
    hurts_api = True
    part = "api"
    number = signal.SIGTERM


class RedisWipe(Signalled):
    name = "redis-wipe"
    summary = "Everything in Redis is deleted, and Redis killed."
    needs = frozenset({"redis", "redis_url", RESTARTS})
    part = "redis"

    def inject(self) -> None:
        address = parse_redis_address(str(self._target.redis_url))
        with redis.Redis.from_url(address.url, **address.options, socket_timeout=REDIS_TIMEOUT) as client:
            try:
                client.flushall()
            except redis.RedisError as error:
                raise FaultFailedError(f"Redis cannot be emptied: {error}") from error
        super().inject()


class RedisFreeze(Frozen):
    name = "redis-freeze"
    summary = "SIGSTOP to Redis for a few seconds, then SIGCONT."
    needs = frozenset({"redis"})
    part = "redis"


class PostgresCrash(Signalled):
    name = "postgres-crash"
    summary = "SIGKILL to one of PostgreSQL's backends: it ends all of them and recovers."
    needs = frozenset({"postgres"})
    part = "postgres"

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        backends = process.children()
        return [self._draw.choice(backends)] if backends else []


class PostgresKill(Signalled):
    name = "postgres-kill"
    summary = "SIGKILL to PostgreSQL itself, which is started again and recovers."
    needs = frozenset({"postgres", RESTARTS})
    part = "postgres"


class PostgresFreeze(Frozen):
    name = "postgres-freeze"
    summary = "SIGSTOP to PostgreSQL for longer than a lease, then SIGCONT."
    needs = frozenset({"postgres"})
    part = "postgres"


SINGLE: Final[Mapping[str, type[Fault]]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            WorkerKill,
            WorkerLoss,
            WorkerFreeze,
            WorkerDrain,
            ReconcilerKill,
            ApiKill,
            ApiRestart,
            RedisWipe,
            RedisFreeze,
            PostgresCrash,
            PostgresKill,
            PostgresFreeze,
        )
    }
)


class Several(Fault):
    name = "several"
    summary = "Two or three of the others at the same time, on different parts."
    needs = frozenset()

    def __init__(self, target: Target, clock: Clock, draw: random.Random) -> None:
        super().__init__(target, clock, draw)
        by_part: dict[str, list[type[Fault]]] = {}
        for kind in SINGLE.values():
            if kind.needs <= target.reach:
                by_part.setdefault(kind.name.partition("-")[0], []).append(kind)
        parts = draw.sample(sorted(by_part), min(len(by_part), draw.randint(*TOGETHER)))
        self._faults = [draw.choice(by_part[part])(target, clock, draw) for part in parts]
        self._injected: list[Fault] = []

    @classmethod
    def expected_hold(cls, clock: Clock) -> float:
        return clock.lease_ttl + 2

    @property
    def traits(self) -> frozenset[type[Fault]]:
        return frozenset(type(fault) for fault in self._faults)

    @property
    def hold(self) -> float:
        return max((fault.hold for fault in self._faults), default=0.0)

    def inject(self) -> None:
        for fault in self._faults:
            fault.inject()
            self._injected.append(fault)

    def heal(self) -> None:
        for fault in reversed(self._injected):
            fault.heal()

    def is_over(self) -> bool:
        return all(fault.is_over() for fault in self._injected)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


FAULTS: Final[Mapping[str, type[Fault]]] = MappingProxyType({**SINGLE, Several.name: Several})
"""All faults by name."""

Make = Callable[[Target, Clock, random.Random], Fault]


def reachable(reach: frozenset[str]) -> list[str]:
    """The faults that can be injected where this much can be reached."""
    single = [name for name, kind in SINGLE.items() if kind.needs <= reach]
    parts = {name.partition("-")[0] for name in single}
    return [*single, Several.name] if len(parts) > 1 else single
