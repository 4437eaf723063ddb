"""The system under drill, and the parts of it within reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PROCESSES: Final = ("api", "worker", "reconciler", "redis", "postgres")
RESTARTS: Final = "restarts"
"""What a fault that ends a process needs: a supervisor that restarts it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running system: its API, and what else is within reach."""

    api_url: str
    api_key: str
    database_url: str | None
    redis_url: str | None
    pids: Callable[[], Mapping[str, int | None]]  # called each time: a restarted process has another id
    restarts: bool  # whether ended processes are restarted
    tick: Callable[[], None]  # called by the main thread several times a second

    @property
    def reach(self) -> frozenset[str]:
        """The processes and servers within reach of faults."""
        processes = {name for name, pid in self.pids().items() if pid is not None}
        urls = {"redis_url"} if self.redis_url else set()
        return frozenset(processes | urls | ({RESTARTS} if self.restarts else set()))

    def pid(self, name: str) -> int | None:
        """The process id of a part, if known."""
        return self.pids().get(name)
