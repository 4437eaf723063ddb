"""The faults of a drill. Each comes from outside: a signal to a process, or a command to Redis."""

import random
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

import psutil
import redis

from cli.drill.target import RESTARTS, Target
from cli.local.processes.child import descendants, is_alive
from shared.addresses.redis import parse_redis_address
from shared.errors import RunyardError

REDIS_TIMEOUT: Final = 3.0  # seconds
SEVERAL_COUNT: Final = (2, 3)  # faults, least and most


class FaultFailedError(RunyardError):
    """A fault could not be injected."""


@dataclass(frozen=True, slots=True)
class Timings:
    """The intervals of the target that decide how long a fault holds, in seconds."""

    lease_ttl: float
    reconcile_interval: float


class Fault(ABC):
    """A fault: injected, held for a while, healed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    hurts_api: ClassVar[bool] = False  # it may break streams and refuse connections
    loses_worker: ClassVar[bool] = False  # a run may end as ERROR, WorkerLost

    def __init__(self, target: Target, timings: Timings, draw: random.Random) -> None:
        self._target = target
        self._timings = timings
        self._draw = draw

    @classmethod
    def expected_hold(cls, timings: Timings) -> float:
        """Seconds between `inject` and `heal`; 0 for an instantaneous fault."""
        del timings
        return 0.0

    @property
    def traits(self) -> frozenset[type["Fault"]]:
        """The kinds of fault that this one combines."""
        return frozenset({type(self)})

    @property
    def hold(self) -> float:
        return self.expected_hold(self._timings)

    @abstractmethod
    def inject(self) -> None:
        """Inject the fault.

        Raises:
            FaultFailedError: its target is not there.
        """

    def heal(self) -> None:  # noqa: B027  # most faults need no healing
        """Undo the fault, unless something else does."""

    def is_over(self) -> bool:
        """Whether the affected processes are there again; they need not serve yet."""
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
    """A signal to a part of the system, with or without its descendants."""

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
        """Whether the signalled processes have ended, as a drain does late, and have successors."""
        try:
            return not any(map(is_alive, self._hit)) and bool(self._victims(self._process(self.part)))
        except (FaultFailedError, psutil.NoSuchProcess):
            return False

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        return [process]


class Frozen(Fault):
    """A part of the system and its descendants are stopped for a while."""

    part: ClassVar[str]

    @classmethod
    def expected_hold(cls, timings: Timings) -> float:
        return timings.lease_ttl + 2

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
    summary = "SIGKILL to the worker processes; their supervisor replaces them."
    needs = frozenset({"worker"})
    loses_worker = True
    part = "worker"

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        return descendants(process.pid)


class WorkerLoss(Signalled):
    name = "worker-loss"
    summary = "SIGKILL to the worker's supervisor and its processes at once, as in the loss of a machine."
    needs = frozenset({"worker", RESTARTS})
    loses_worker = True
    part = "worker"

    def _victims(self, process: psutil.Process) -> Sequence[psutil.Process]:
        return [process, *descendants(process.pid)]


class WorkerFreeze(Frozen):
    name = "worker-freeze"
    summary = "SIGSTOP to the worker until its leases have lapsed, then SIGCONT."
    needs = frozenset({"worker"})
    loses_worker = True
    part = "worker"

    @classmethod
    def expected_hold(cls, timings: Timings) -> float:
        return 2 * timings.lease_ttl + 2 * timings.reconcile_interval


class WorkerDrain(Signalled):
    name = "worker-drain"
    summary = "SIGTERM to the worker, as in a deploy: it drains and is restarted."
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
    summary = "Redis is emptied and killed."
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
    summary = "SIGKILL to PostgreSQL, which is restarted and recovers."
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
    summary = "Two or three other faults at once, on different parts."
    needs = frozenset()

    def __init__(self, target: Target, timings: Timings, draw: random.Random) -> None:
        super().__init__(target, timings, draw)
        by_part: dict[str, list[type[Fault]]] = {}
        for kind in SINGLE.values():
            if kind.needs <= target.reach:
                by_part.setdefault(kind.name.partition("-")[0], []).append(kind)
        parts = draw.sample(sorted(by_part), min(len(by_part), draw.randint(*SEVERAL_COUNT)))
        self._faults = [draw.choice(by_part[part])(target, timings, draw) for part in parts]
        self._injected: list[Fault] = []

    @classmethod
    def expected_hold(cls, timings: Timings) -> float:
        return timings.lease_ttl + 2

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


FAULTS: Final[Mapping[str, type[Fault]]] = MappingProxyType({**SINGLE, Several.name: Several})
"""All faults by name."""


def reachable(reach: frozenset[str]) -> list[str]:
    """The names of the faults that a target of this reach allows."""
    single = [name for name, kind in SINGLE.items() if kind.needs <= reach]
    parts = {name.partition("-")[0] for name in single}
    return [*single, Several.name] if len(parts) > 1 else single
