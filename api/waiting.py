"""Callers who wait for a run to end: woken by what is published, and by one read for all of them."""

import asyncio
import uuid
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy import exc as sql
from starlette.types import Receive

from api.key_watch import KeyWatch
from api.subscriber import Subscriber
from shared.database_errors import is_passing
from shared.db import Sessions, unit_of_work
from shared.errors import UnauthenticatedError
from shared.keys.principal import Principal
from shared.runs.queries import active_among
from shared.settings import Settings

LONGEST: Final = 50.0
"""Seconds that one request may wait; most proxies give up after 60, and reading takes time, too."""

PAUSE: Final = 0.05  # seconds in which doubts gather, to be settled by one read

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Awaited:
    """A run that somebody waits for."""

    over: asyncio.Event
    listener: asyncio.Task[None]
    callers: int = 0


class Waiting:
    """All who wait for runs in one process; they hold no thread and no database connection.

    One listener a run hears of its end from Redis. Whatever may have been missed is read from
    PostgreSQL, for all runs that are waited for at once: when a listener begins, when Redis comes
    back, and every `reread` in any case.
    """

    def __init__(
        self, sessions: Sessions, subscriber: Subscriber, keys: KeyWatch, *, reread: timedelta
    ) -> None:
        self._sessions = sessions
        self._subscriber = subscriber
        self._keys = keys
        self._reread = reread.total_seconds()
        self._awaited: dict[uuid.UUID, _Awaited] = {}
        self._doubt = asyncio.Event()
        self._thread = CapacityLimiter(1)
        self._is_closed = False

    @classmethod
    def make(
        cls, settings: Settings, sessions: Sessions, subscriber: Subscriber, keys: KeyWatch
    ) -> "Waiting":
        return cls(sessions, subscriber, keys, reread=settings.stream_reread)

    @property
    def callers(self) -> int:
        """Those who wait at the moment."""
        return sum(awaited.callers for awaited in self._awaited.values())

    def close(self) -> None:
        """Let every caller go, and none wait from now on."""
        self._is_closed = True
        for awaited in self._awaited.values():
            awaited.over.set()

    async def until_ended(
        self, run_id: uuid.UUID, seconds: float, *, principal: Principal, receive: Receive
    ) -> None:
        """Return once a run has ended or is gone, the time is up, the caller has left, or the process ends.

        Args:
            seconds: to wait at the most.
            principal: who waits.
            receive: the ASGI channel of the request, which tells that the caller has left.

        Raises:
            UnauthenticatedError: the principal's key went bad meanwhile.
        """
        if self._is_closed:
            return
        refused = asyncio.Event()
        with self._wait_for(run_id) as over, self._keys.until_bad(principal, refused.set):
            tasks = {
                asyncio.create_task(over.wait()),
                asyncio.create_task(refused.wait()),
                asyncio.create_task(_left(receive)),
            }
            try:
                await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
        if refused.is_set():
            raise UnauthenticatedError

    async def run(self) -> None:
        """Settle doubts until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._reread):
                    await self._doubt.wait()
            self._doubt.clear()
            if self._awaited:
                await self._settle()
            await asyncio.sleep(PAUSE)

    @contextmanager
    def _wait_for(self, run_id: uuid.UUID) -> Generator[asyncio.Event]:
        awaited = self._awaited.get(run_id)
        if awaited is None:
            over = asyncio.Event()
            awaited = _Awaited(over, asyncio.create_task(self._listen(run_id, over)))
            self._awaited[run_id] = awaited
        awaited.callers += 1
        try:
            yield awaited.over
        finally:
            awaited.callers -= 1
            if awaited.callers == 0:
                awaited.listener.cancel()
                del self._awaited[run_id]

    async def _listen(self, run_id: uuid.UUID, over: asyncio.Event) -> None:
        with self._subscriber.listen(run_id) as mailbox:
            while not (over.is_set() or mailbox.is_closed):
                if mailbox.take_gap():
                    self._doubt.set()
                batch = await mailbox.get(LONGEST)
                if batch and batch[-1].is_last:
                    break
        over.set()

    async def _settle(self) -> None:
        asked = tuple(self._awaited)
        try:
            active = await to_thread.run_sync(self._active_among, asked, limiter=self._thread)
        except sql.SQLAlchemyError as error:
            write = log.debug if is_passing(error) else log.exception  # the callers' time goes on either way
            write("ended runs could not be read", error=type(error).__name__)
            return
        for run_id in set(asked) - active:
            if run_id in self._awaited:
                self._awaited[run_id].over.set()

    def _active_among(self, run_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        with unit_of_work(self._sessions) as session:
            return active_among(session, run_ids)


async def _left(receive: Callable[[], Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
