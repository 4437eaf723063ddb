"""Silence: for how long a process has not shown life, as far as its watcher was awake to see it.

An interpreter lock that is held in C, or a stop signal, silences a whole process: it can neither renew its
leases nor stop its runs, nor answer its callers. Whoever started it kills it then.
"""

import socket
import time
from contextlib import suppress
from typing import Final

from shared.settings import Settings

BEAT_INTERVAL: Final = 1.0  # seconds between two signs of life, at the most
LEAST: Final = 5.0  # seconds of silence that are never held against a process
START_TIMEOUT: Final = 120.0  # seconds without a sign until a process is ready: it loads a framework
MAX_STEP: Final = 2 * BEAT_INTERVAL
"""Seconds of silence that count between two checks: the watcher, or the whole machine, may have slept."""

STARTING: Final = b"a"
"""The sign of life of a process that is not ready yet, on its link to its supervisor."""

READY: Final = b"r"
"""The sign of life of a process that is ready."""


def show_life(link: socket.socket, *, is_ready: bool) -> None:
    """Show a sign of life on a socket; never wait for the reader."""
    with suppress(OSError):  # the supervisor is gone, or does not read now
        link.send(READY if is_ready else STARTING, socket.MSG_DONTWAIT)


def beat_interval(settings: Settings) -> float:
    """Seconds between two signs of life."""
    return min(BEAT_INTERVAL, settings.lease_ttl.total_seconds() / 5)


def silence_limit(settings: Settings) -> float:
    """Seconds of silence after which a process is killed: those of a lease."""
    return max(LEAST, settings.lease_ttl.total_seconds())


class Silence:
    """The silence of one process."""

    def __init__(self, limit: float) -> None:
        """Begin to listen.

        Args:
            limit: seconds, for a process that is ready; before, at least START_TIMEOUT.
        """
        self._limit = limit
        self._is_ready = False
        self._checked_at = time.monotonic()
        self.seconds = 0.0

    def end(self, *, is_ready: bool) -> None:
        """Note a sign of life.

        Args:
            is_ready: whether the process is ready; it stays ready.
        """
        self._is_ready = self._is_ready or is_ready
        self.seconds = 0.0

    def hear(self, message: bytes) -> None:
        """Note what a process has sent over its link: any message is a sign of life."""
        self.end(is_ready=READY in message)

    def is_too_long(self) -> bool:
        """Add the time since the last check; return whether the process is to be killed."""
        now = time.monotonic()
        self.seconds += min(now - self._checked_at, MAX_STEP)
        self._checked_at = now
        return self.seconds > (self._limit if self._is_ready else max(self._limit, START_TIMEOUT))
