"""The system a drill is held on, and how much of it can be reached."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PROCESSES: Final = ("api", "worker", "reconciler", "redis", "postgres")
RESTARTS: Final = "restarts"
"""What a fault needs that ends a process for good: somebody who starts it again."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running system: where callers find it, and what else is at hand."""

    api_url: str
    api_key: str
    database_url: str | None
    redis_url: str | None
    pids: Callable[[], Mapping[str, int | None]]  # asked anew each time: who is restarted has another
    restarts: bool  # whether somebody starts again what ends
    tick: Callable[[], None]  # what the drill's main thread has to do several times a second

    @property
    def reach(self) -> frozenset[str]:
        """What faults can lay hands on."""
        processes = {name for name, pid in self.pids().items() if pid is not None}
        urls = {"redis_url"} if self.redis_url else set()
        return frozenset(processes | urls | ({RESTARTS} if self.restarts else set()))

    def pid(self, name: str) -> int | None:
        """The process id of a part of the system, if it is known."""
        return self.pids().get(name)
