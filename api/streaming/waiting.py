"""Requests that wait for a run to end: woken by Redis pub/sub, or by the run watch."""

import asyncio
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Final

from starlette.types import Receive

from api.key_watch import KeyWatch
from api.streaming.batch import Batch
from api.streaming.subscriber import Subscriber
from shared.errors import UnauthenticatedError
from shared.keys.principal import Principal
from shared.metrics import definitions as metrics

WAIT_TIMEOUT: Final = 50.0
"""Seconds that one request may wait. Most proxies give up after 60, and reading takes time, too."""


class _Awaited:
    """A run that requests wait for."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.callers = 0
        self.listening = ExitStack()

    def put(self, batch: Batch, *, size: int) -> None:
        del size  # nothing is kept
        if batch[-1].is_last:
            self.over.set()

    def learn(self, stored: int, *, has_ended: bool) -> None:
        del stored
        if has_ended:
            self.over.set()

    def close(self) -> None:
        self.over.set()


class RunWaiter:
    """All requests of one process that wait for runs; they hold no thread and no database connection.

    One listener per run learns of its end from Redis, or from the run watch: soon after it begins, when Redis
    comes back, and at least every `stream_reread`.
    """

    def __init__(self, subscriber: Subscriber, keys: KeyWatch) -> None:
        self._subscriber = subscriber
        self._keys = keys
        self._awaited: dict[uuid.UUID, _Awaited] = {}
        self._is_closed = False

    @property
    def callers(self) -> int:
        """The number of waiting requests."""
        return sum(awaited.callers for awaited in self._awaited.values())

    def close(self) -> None:
        """End every wait, and let no request wait from now on."""
        self._is_closed = True
        for awaited in self._awaited.values():
            awaited.over.set()

    async def until_ended(
        self, run_id: uuid.UUID, seconds: float, *, principal: Principal, receive: Receive
    ) -> None:
        """Return when a run has ended or is gone, the time is up, the caller has left, or the process ends.

        Args:
            seconds: the longest wait.
            principal: the caller.
            receive: the ASGI channel of the request, which ends when the caller leaves.

        Raises:
            UnauthenticatedError: the principal's key went bad meanwhile.
        """
        if self._is_closed:
            return

        async def until_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        refused = asyncio.Event()
        with self._wait_for(run_id) as over, self._keys.until_bad(principal, refused.set):
            tasks = {
                asyncio.create_task(over.wait()),
                asyncio.create_task(refused.wait()),
                asyncio.create_task(until_left()),
            }
            try:
                await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
        if refused.is_set():
            raise UnauthenticatedError

    @contextmanager
    def _wait_for(self, run_id: uuid.UUID) -> Generator[asyncio.Event]:
        awaited = self._awaited.get(run_id)
        if awaited is None:
            awaited = self._awaited[run_id] = _Awaited()
            awaited.listening.enter_context(self._subscriber.listen(run_id, awaited))
            self._subscriber.doubt(run_id)  # it may have ended before
        awaited.callers += 1
        metrics.WAITING_CALLERS.inc()
        try:
            yield awaited.over
        finally:
            awaited.callers -= 1
            metrics.WAITING_CALLERS.inc(by=-1)
            if awaited.callers == 0:
                del self._awaited[run_id]
                awaited.listening.close()
