"""Event streams: replay a run's log from PostgreSQL, then follow it live."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from api.key_watch import KeyWatch
from api.streaming.batch import AWAY, Batch
from api.streaming.heartbeats import Heartbeats
from api.streaming.log_reader import LogReader, Order
from api.streaming.mailbox import Mailbox
from api.streaming.newcomers import Newcomers
from api.streaming.run_finder import RunFinder
from api.streaming.subscriber import Subscriber
from api.traffic.admission import Gate
from api.traffic.budget import Budget
from shared.db import Sessions
from shared.events.log import StoredEvent
from shared.keys.principal import Principal
from shared.metrics import definitions as metrics
from shared.models import Run
from shared.settings import Settings

MEASURED_EVERY: Final = 8
"""Of so many batches that are handed over, one is measured."""


class StreamHub:
    """All event streams of one process."""

    def __init__(
        self,
        log_reader: LogReader,
        subscriber: Subscriber,
        *,
        keys: KeyWatch,
        budget: Budget,
        buffer: int,
        reread: timedelta,
        heartbeat: timedelta,
    ) -> None:
        self._log_reader = log_reader
        self._subscriber = subscriber
        self._keys = keys
        self._budget = budget
        self._buffer = buffer
        self._reread = reread.total_seconds()
        self._heartbeats = Heartbeats(interval=heartbeat)
        self._is_closed = False
        self._handed_over = 0  # batches that were published
        self.finder = RunFinder()  # of the runs that readers want to follow
        self.newcomers = Newcomers()

    @classmethod
    def make(
        cls,
        settings: Settings,
        sessions: Sessions,
        subscriber: Subscriber,
        readers: Gate,
        *,
        keys: KeyWatch,
        budget: Budget,
    ) -> "StreamHub":
        """Make the hub of a process; `readers` is the lane that its reads go through."""
        return cls(
            LogReader(sessions, readers, budget),
            subscriber,
            keys=keys,
            budget=budget,
            buffer=settings.stream_buffer,
            reread=settings.stream_reread,
            heartbeat=settings.stream_heartbeat,
        )

    @property
    def heartbeat(self) -> float:
        """Seconds between two words on a stream on which nothing happens."""
        return self._heartbeats.interval

    def close(self) -> None:
        """End every stream where it is; its reader resumes elsewhere."""
        self._is_closed = True
        self._subscriber.close()

    def expect(self, run: Run, event: StoredEvent) -> None:
        """Take note of a run of an assistant that was just stored: somebody may follow it at once."""
        if self.newcomers.add(run):
            self._log_reader.keep_first(event)

    async def follow(
        self, run_id: uuid.UUID, *, start: int, principal: Principal, seconds: float | None = None
    ) -> AsyncGenerator[Batch]:
        """Yield a run's events whose `seq` is at least `start`, in order, each once, to the last.

        What is stored comes first and what is published follows; on any doubt PostgreSQL is read
        again. It ends with the run's last event, or at once if that is before `start`; with the key of
        `principal`, who reads it; with the process; and after `seconds`, if given. It holds no database
        connection between reads, and has neither a task nor a timer of its own.

        It does not ask whose the run is: its caller has found it among the organization's (`finder`).

        Yields:
            Events; an empty batch, whenever there was none for a heartbeat, says "still here".
        """
        if self._is_closed or (seconds is not None and seconds <= 0):
            return
        mailbox = Mailbox(start=start, batches=self._buffer)
        metrics.STREAMS_OPENED.inc("resumed" if start else "new")
        order: Order | None = None
        may_be_old = True  # what is read: a reader who joins or catches up may share it with others
        with (
            self._subscriber.listen(run_id, mailbox),
            self._keys.until_bad(principal, mailbox.close),
            self._budget.holding(principal.tenant) as hold,
            self._heartbeats.of(mailbox),
            _counted(),
            _after(seconds, mailbox.close),
        ):
            try:
                while not mailbox.is_closed:
                    if order is not None and order.done():
                        found = order.result()
                        mailbox.fill(found)
                        may_be_old = found.has_more
                        del found
                        if not order.is_fresh:
                            self._subscriber.doubt(run_id)
                        order = None
                    elif mailbox.take_gap():
                        order = self._log_reader.order(
                            run_id, mailbox.next_seq, hold, tenant=principal.tenant, may_be_old=may_be_old
                        )
                        order.add_done_callback(mailbox.wake)
                    elif (batch := mailbox.take()) is None:
                        await mailbox.wait()
                    else:
                        self._measure(batch)
                        has_events, is_last = bool(batch), bool(batch) and batch[-1].is_last
                        yield batch
                        del batch  # which would be there until the next
                        self._heartbeats.note(mailbox)
                        if has_events:
                            hold.give_back()
                        if is_last:
                            return
            finally:
                if order is not None:
                    order.cancel()

    def _measure(self, batch: Batch) -> None:
        """Measure how long a published batch has waited for its reader; most are left out, as they cost."""
        if batch.arrived_at is None:
            return
        self._handed_over += 1
        if self._handed_over % MEASURED_EVERY == 0:
            metrics.SEND_DELAY.observe(time.monotonic() - batch.arrived_at)

    async def replay(self, run_id: uuid.UUID, *, until: int, principal: Principal) -> AsyncGenerator[Batch]:
        """Yield the stored events of a run whose `seq` is less than `until`, in order, and maybe some more.

        An outage of PostgreSQL delays them. It ends early with the key of `principal`, and with the process
        if PostgreSQL cannot be read.

        Yields:
            Events; an empty batch says that PostgreSQL could not be read for `stream_reread`.
        """
        start, over = 0, asyncio.Event()
        with (
            self._keys.until_bad(principal, over.set),
            self._budget.holding(principal.tenant) as hold,
        ):
            while start < until and not over.is_set():
                found = await self._log_reader.order(run_id, start, hold, tenant=principal.tenant)
                if found is AWAY:
                    if self._is_closed:
                        return
                    await asyncio.sleep(self._reread)
                    yield Batch()
                    continue
                if not found.events:
                    return
                start = found.events[-1].seq + 1
                yield found.events
                hold.give_back()
                del found


@contextmanager
def _counted() -> Generator[None]:
    """Count an open stream for as long as the block lasts."""
    metrics.STREAMS_OPEN.inc()
    try:
        yield
    finally:
        metrics.STREAMS_OPEN.inc(by=-1)


@contextmanager
def _after(seconds: float | None, end: Callable[[], None]) -> Generator[None]:
    """Call `end` if the block lasts so long."""
    timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
