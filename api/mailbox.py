"""One reader's live events: a bounded buffer that forgets instead of growing."""

import asyncio
from collections import deque
from typing import Final

from shared.events.log import StoredEvent

Batch = list[StoredEvent]

MAX_BYTES: Final = 1_048_576
"""Published bytes kept for one reader, whatever the number of batches."""


class Mailbox:
    """Takes what is published on a run's channel until its reader comes for it.

    It starts with a gap, since nothing has been read yet, and gets one whenever something may
    have been missed or was dropped. A gap says: what PostgreSQL holds comes first.
    """

    def __init__(self, *, batches: int, size: int = MAX_BYTES) -> None:
        self._batches: deque[tuple[Batch, int]] = deque()
        self._max_batches = batches
        self._max_bytes = size
        self._bytes = 0
        self._has_gap = True
        self._wake = asyncio.Event()
        self._wake.set()
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, batch: Batch, *, size: int) -> None:
        """Keep a batch; if there is no room for it, drop everything and leave a gap."""
        if len(self) >= self._max_batches or self._bytes + size > self._max_bytes:
            self.mark_gap()
        elif not self._has_gap:  # behind a gap, PostgreSQL has this batch too
            self._batches.append((batch, size))
            self._bytes += size
            self._wake.set()

    def mark_gap(self) -> None:
        self._empty()
        self._has_gap = True
        self._wake.set()

    def take_gap(self) -> bool:
        """Whether PostgreSQL has to be read; the caller reads it from now on."""
        had_gap, self._has_gap = self._has_gap, False
        self._settle()
        return had_gap

    def close(self) -> None:
        """Let the reader go at once."""
        self._empty()
        self.is_closed = True
        self._wake.set()

    async def get(self, timeout: float) -> Batch | None:  # noqa: ASYNC109 # a quiet run is no failure
        """Return the next batch, or None if there is a gap, the end, or nothing for `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return None
        batch = None
        if self._batches:
            batch, size = self._batches.popleft()
            self._bytes -= size
        self._settle()
        return batch

    def _settle(self) -> None:
        if not (self._batches or self._has_gap or self.is_closed):
            self._wake.clear()

    def _empty(self) -> None:
        self._batches.clear()
        self._bytes = 0
