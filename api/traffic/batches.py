"""Batches: work that arrives while earlier work is done is joined, and done in one thread at once."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH: Final = 32  # items
MAX_BATCH_BYTES: Final = 1_048_576

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiter(Generic[Item, Result]):
    item: Item
    size: int  # bytes
    result: asyncio.Future[Result]


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """The results of a batch, in the order of its items, and the call that follows once they are told."""

    results: Sequence[Result]
    follow_up: Callable[[], None]


class Batches(Generic[Item, Result]):
    """One batch at a time: an item that finds no batch at work starts one without a delay.

    Callers bound how many items wait. An error of the work is the error of every item of its batch. The
    batches belong to one event loop.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Done[Result]], *, threads: CapacityLimiter | None = None
    ) -> None:
        """Make the batches of one kind of work.

        Args:
            threads: of which a batch takes one, if it has none of its own.
        """
        self._work = work
        self._waiting: deque[_Waiter[Item, Result]] = deque()
        self._threads = threads or CapacityLimiter(1)
        self._working: asyncio.Task[None] | None = None

    async def do(self, item: Item, *, size: int) -> Result:
        """Have an item done; a caller that is cancelled leaves, and its item may be done all the same.

        Args:
            size: bytes of the item.
        """
        waiter: _Waiter[Item, Result] = _Waiter(item, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        if self._working is None:
            # In a context of its own: its log lines are about more than the request that began it.
            self._working = asyncio.create_task(self._work_off(), context=contextvars.Context())
        return await waiter.result

    async def _work_off(self) -> None:
        try:
            while self._waiting:
                await self._do_next()
        finally:
            self._working = None

    async def _do_next(self) -> None:
        batch = self._take()
        try:
            done = await to_thread.run_sync(self._work, [one.item for one in batch], limiter=self._threads)
        except Exception as error:  # noqa: BLE001  # it is raised where the items come from
            for one in batch:
                if not one.result.done():
                    one.result.set_exception(error)
            return
        for one, result in zip(batch, done.results, strict=True):
            if not one.result.done():
                one.result.set_result(result)
        try:
            done.follow_up()
        except Exception:  # the results are told, and the next batch may not depend on it
            log.exception("follow-up of a batch failed", items=len(batch))

    def _take(self) -> list[_Waiter[Item, Result]]:
        """Take the items of the next batch, at least one."""
        batch: list[_Waiter[Item, Result]] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH:
            size += self._waiting[0].size
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch
