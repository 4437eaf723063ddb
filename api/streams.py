"""Event streams: replay a run's log from PostgreSQL, then follow it live, to its end."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final, TypeVar

import structlog
from sqlalchemy import exc as sql

from api.admission import Gate
from api.budget import Budget, Hold
from api.key_watch import KeyWatch
from api.mailbox import Batch, Mailbox
from api.subscriber import Subscriber
from shared.database_errors import is_passing
from shared.db import Sessions, unit_of_work
from shared.errors import OverloadedError
from shared.events.log import Page, read
from shared.keys.principal import Principal
from shared.settings import Settings

PAGE: Final = 100  # events of one replay step; a slow reader holds no more of them
AS_SENT: Final = 2
"""Times its size that an event takes while it is sent: as it is read, and as it is written."""

PAGE_BYTES: Final = 262_144  # likewise, unless a single event is larger
AWAY: Final = Page(events=[], total=0, is_closed=False)
"""What is read while PostgreSQL cannot be reached, or has too much to do: nothing yet."""

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class StreamHub:
    """All event streams of one process."""

    def __init__(
        self,
        sessions: Sessions,
        subscriber: Subscriber,
        readers: Gate,
        *,
        keys: KeyWatch,
        budget: Budget,
        reread: timedelta,
        heartbeat: timedelta,
    ) -> None:
        self._sessions = sessions
        self._subscriber = subscriber
        self._keys = keys
        self._budget = budget
        self._reread = reread.total_seconds()
        self.heartbeat = heartbeat.total_seconds()  # between two words on a stream on which nothing happens
        self._readers = readers
        self._is_closed = False

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
        reread, heartbeat = settings.stream_reread, settings.stream_heartbeat
        return cls(
            sessions, subscriber, readers, keys=keys, budget=budget, reread=reread, heartbeat=heartbeat
        )

    def close(self) -> None:
        """End every stream where it is; its reader resumes elsewhere."""
        self._is_closed = True
        self._subscriber.close()

    async def follow(self, run_id: uuid.UUID, *, after: int, principal: Principal) -> AsyncGenerator[Batch]:
        """Yield a run's events whose `seq` is at least `after`, in order, each once, to the last.

        What is stored comes first and what is published follows; on any doubt PostgreSQL is read
        again. It ends with the run's last event, or at once if that is before `after`; with the key of
        `principal`, who reads it; and with the process. No database connection is held between reads.

        Yields:
            Events; an empty batch, whenever there was none for a heartbeat, says "still here".
        """
        clock = asyncio.get_running_loop().time
        is_end = self._is_closed
        beat_at = clock() + self.heartbeat
        with (
            self._subscriber.listen(run_id) as mailbox,
            self._keys.until_bad(principal, mailbox.close),
            self._budget.holding(principal.tenant) as hold,
        ):
            while not (is_end or mailbox.is_closed):
                turn = asyncio.create_task(self._next(mailbox, hold, run_id, after))
                try:
                    while not turn.done():
                        await asyncio.wait({turn}, timeout=beat_at - clock())
                        if clock() >= beat_at:
                            yield []
                            beat_at = clock() + self.heartbeat
                finally:
                    turn.cancel()
                batch, is_end = turn.result()
                if batch:
                    yield batch
                    hold.give_back()
                    after = batch[-1].seq + 1
                    del batch, turn  # which would be there until the next
                    beat_at = clock() + self.heartbeat

    async def _next(self, mailbox: Mailbox, hold: Hold, run_id: uuid.UUID, after: int) -> tuple[Batch, bool]:
        """The next events, if any yet, and whether the stream ends with them."""
        if mailbox.take_gap():
            page = await self._read(hold, run_id, after)
            if not page.events:
                hold.give_back()
                return [], page.is_closed
            hold.grow(AS_SENT * sum(event.size or 0 for event in page.events))
            last = page.events[-1]
            if last.seq + 1 < page.total:
                mailbox.mark_gap()
            return page.events, last.is_last
        batch = await mailbox.get(self._reread)
        if batch is None:
            mailbox.mark_gap()
            return [], False
        fresh = [event for event in batch if event.seq >= after]
        if fresh and fresh[0].seq > after:
            mailbox.mark_gap()
            return [], False
        return fresh, batch[-1].is_last

    def holding(self, principal: Principal) -> AbstractContextManager[Hold]:
        """What a reader of stored events holds of the bytes that there are for readers."""
        return self._budget.holding(principal.tenant)

    async def read_page(self, hold: Hold, read: Callable[..., Result], *args: object) -> Result:
        """Read a page for a stream, in one of the threads that all streams share; tenants take turns.

        Raises:
            OverloadedError: there was no turn in time.
        """
        return await hold.read(PAGE_BYTES, self._readers, read, *args)

    async def _read(self, hold: Hold, run_id: uuid.UUID, after: int) -> Page:
        try:
            return await self.read_page(hold, self._page, run_id, after)
        except OverloadedError:
            return AWAY
        except sql.NoResultFound:
            return Page(events=[], total=0, is_closed=True)  # the run itself was deleted
        except sql.SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.debug("replay postponed", run_id=str(run_id), error=type(error).__name__)
            return AWAY

    def _page(self, run_id: uuid.UUID, after: int) -> Page:
        with unit_of_work(self._sessions) as session:
            return read(session, run_id, after=after, limit=PAGE, most=PAGE_BYTES)
