"""The mailbox of one reader: a bounded buffer of published events."""

import asyncio
from collections import deque
from typing import Final

from api.streaming.batch import AWAY, Batch, Slice
from shared.metrics import definitions as metrics

MAX_BYTES: Final = 1_048_576
"""Published bytes kept for one reader, whatever the number of batches.

The readers of a run share the batches. What a dialect has encoded of them comes on top, once, and is about as
large.
"""


class Mailbox:
    """Takes what is published on a run's channel until its reader comes for it.

    It starts with a gap, since nothing has been read yet, and gets one whenever something was missed or
    dropped. A gap says: what PostgreSQL holds comes first. It hands out events in order, each once, from
    the number `start` on. One reader waits on it. It belongs to one event loop.
    """

    def __init__(self, *, start: int = 0, batches: int, size: int = MAX_BYTES) -> None:
        self.next_seq = start  # of the event that the reader gets next
        self.is_closed = False
        self._batches: deque[tuple[Batch, int]] = deque()
        self._max_batches = batches
        self._max_bytes = size
        self._bytes = 0
        self._has_gap = True
        self._is_reading = False
        self._has_failed = False  # to read
        self._page: Batch | None = None
        self._stored = 0  # events that PostgreSQL is known to hold
        self._has_ended = False  # the run, as PostgreSQL says
        self._is_due = False  # a heartbeat
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, batch: Batch, *, size: int) -> None:
        """Keep a published batch; if there is no room for it, drop everything and leave a gap."""
        if len(self) >= self._max_batches or self._bytes + size > self._max_bytes:
            metrics.STREAMS_BEHIND.inc()
            self.mark_gap()
        elif not self._has_gap:  # behind a gap, PostgreSQL has this batch too
            self._batches.append((batch, size))
            self._bytes += size
            self.wake()

    def learn(self, stored: int, *, has_ended: bool) -> None:
        """Take note of what PostgreSQL holds; leave a gap if the reader has to look for itself.

        Args:
            stored: the number of the run's events.
            has_ended: whether there will be no more of them, or the run is gone.
        """
        self._stored, self._has_ended = stored, has_ended
        self._check()

    def mark_gap(self) -> None:
        """Say that something was missed."""
        self._empty()
        self._has_gap = True
        self.wake()

    def take_gap(self) -> bool:
        """Whether PostgreSQL has to be read; the caller reads it from now on, and ends that by `fill`."""
        if not self._wants_reading:
            return False
        self._has_gap, self._is_reading, self._has_failed = False, True, False
        self._has_ended = False  # the reading says so itself; what is learned meanwhile counts after it
        return True

    def fill(self, found: Slice) -> None:
        """End a reading: what was found comes before what was published meanwhile.

        After a reading in vain, `AWAY`, what is learned next leaves a gap again.
        """
        self._is_reading, self._has_failed = False, found is AWAY
        if found is AWAY:
            return
        if found.events:
            self._page, last = found.events, found.events[-1]
            if found.has_more or (found.is_closed and not last.is_last):
                self.mark_gap()
        elif found.is_closed:
            self.close()
        self._check()
        self.wake()

    def beat(self) -> None:
        """Have the reader say that the stream is still here."""
        self._is_due = True
        self.wake()

    def close(self) -> None:
        """Let the reader go at once."""
        self._empty()
        self._page = None
        self.is_closed = True
        self.wake()

    def take(self) -> Batch | None:
        """Return the next events, or an empty batch for a heartbeat, or None if there is nothing now."""
        if self._page is not None:
            page, self._page = self._page, None
            return self._advanced(page)
        while self._batches and not self._is_reading:
            batch, size = self._batches.popleft()
            self._bytes -= size
            if batch[0].seq > self.next_seq:
                self.mark_gap()
            elif batch[-1].seq >= self.next_seq:
                return self._advanced(batch)
            elif batch[-1].is_last:
                self.close()
        if self._is_due:
            self._is_due = False
            return Batch()
        return None

    async def wait(self) -> None:
        """Wait until there may be something to take, or a gap, or the end; call it if `take` had nothing."""
        if self._wants_reading or self.is_closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self, _: object = None) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def _wants_reading(self) -> bool:
        return self._has_gap and not self._is_reading and self._page is None

    def _advanced(self, batch: Batch) -> Batch:
        fresh = batch.since(self.next_seq)
        self.next_seq = batch[-1].seq + 1
        self._is_due = False
        return fresh

    def _check(self) -> None:
        """Leave a gap if PostgreSQL holds more than the reader has or gets, or knows of the run's end."""
        if self._has_gap or self._is_reading:
            return
        if self._batches:
            known = self._batches[-1][0][-1].seq + 1
        else:
            known = self._page[-1].seq + 1 if self._page else self.next_seq
        is_ending = bool(self._batches or self._page)  # the last event may be among what is to be taken
        if self._has_failed or self._stored > known or (self._has_ended and not is_ending):
            self.mark_gap()

    def _empty(self) -> None:
        self._batches.clear()
        self._bytes = 0
