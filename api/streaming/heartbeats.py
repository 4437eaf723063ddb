"""Heartbeats: one timer of a process for all event streams."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Protocol

TICKS: Final = 128  # of a heartbeat
LEAST_TICK: Final = 0.005  # seconds
FREELY_BEATEN: Final = 8  # streams of one tick, however few there are


class Stream(Protocol):
    """A stream that can be told to say that it is still here."""

    def beat(self) -> None:
        """Say it soon. The event loop calls it, and it may not raise."""


class Heartbeats:
    """Tells streams on which nothing was sent for a heartbeat to say that they are still here.

    One timer serves all of them. Many that are due at once are told in portions, each a 64th of all
    streams, so that they hold up the event loop briefly; the last of them waits half a heartbeat longer.
    """

    def __init__(self, *, interval: timedelta) -> None:
        self.interval = interval.total_seconds()
        self._silent_since: dict[Stream, float] = {}  # in order
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def of(self, stream: Stream) -> Generator[None]:
        """Care for a stream for as long as the block lasts."""
        self.note(stream)
        self._schedule()
        try:
            yield
        finally:
            del self._silent_since[stream]

    def note(self, stream: Stream) -> None:
        """Note that something was sent on a stream."""
        self._silent_since.pop(stream, None)
        self._silent_since[stream] = asyncio.get_running_loop().time()

    def _schedule(self) -> None:
        if self._timer is None:
            pause = max(self.interval / TICKS, LEAST_TICK)
            self._timer = asyncio.get_running_loop().call_later(pause, self._tick)

    def _tick(self) -> None:
        self._timer = None
        due = asyncio.get_running_loop().time() - self.interval
        for _ in range(FREELY_BEATEN + 2 * len(self._silent_since) // TICKS):
            stream, since = next(iter(self._silent_since.items()), (None, due))
            if stream is None or since > due:
                break
            self.note(stream)
            stream.beat()
        if self._silent_since:
            self._schedule()
