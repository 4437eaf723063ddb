"""Admission: gates that bound concurrent work, with queues that are fair to every organization."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread

from shared.errors import OverloadedError

MAX_QUEUE: Final = 2000
"""Waiters of one group at a gate. Each is a connection; another gate counts the bytes of its body."""

Result = TypeVar("Result")


@dataclass(slots=True)
class _Waiter:
    turn: asyncio.Future[None]
    weight: int
    has_turn: bool = False


class Gate:
    """Bounds the work that runs at once; further work waits before it takes any resource.

    Groups take turns. Inside a group the order is first in, first out. No group has more than its share,
    so a group that fills its share delays itself alone. A gate belongs to one event loop.
    """

    def __init__(
        self, capacity: int, *, share: int | None = None, queue: int = MAX_QUEUE, timeout: float
    ) -> None:
        """Make a gate.

        Args:
            capacity: the weight that all groups may hold at once.
            share: the weight that one group may hold at once; by default all of it.
            queue: the weight of one group that may wait.
            timeout: seconds that a waiter may wait for its turn.
        """
        self.capacity = capacity
        self._share = capacity if share is None else min(share, capacity)
        self._longest_queue = queue
        self._timeout = timeout
        self._free = capacity
        self._used: dict[Hashable, int] = {}
        self._waiting: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()
        self._queued: dict[Hashable, int] = {}  # the waiting weight of each group
        self._threads = CapacityLimiter(capacity)

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def admit(self, group: Hashable, weight: int = 1) -> AsyncGenerator[bool]:
        """Wait for a turn, and hold it during the block.

        Args:
            group: the owner of the turn, usually an organization.
            weight: the capacity that the turn takes; at most a share counts.

        Yields:
            Whether the caller had to wait.

        Raises:
            OverloadedError: no turn came in time, or the queue of the group is full.
        """
        weight = max(1, min(weight, self._share))
        has_waited = await self._enter(group, weight)
        try:
            yield has_waited
        finally:
            self._leave(group, weight)

    async def run(self, group: Hashable, work: Callable[..., Result], *args: object) -> Result:
        """Wait for a turn, then run a function in a thread reserved for it.

        A cancelled caller leaves at once; the turn ends when the function ends.

        Raises:
            OverloadedError: as `admit`.
        """
        await self._enter(group, 1)
        running = asyncio.ensure_future(to_thread.run_sync(work, *args, limiter=self._threads))

        def leave(done: asyncio.Future[Result]) -> None:
            self._leave(group, 1)
            if not done.cancelled():
                done.exception()  # if the caller has left, nobody else retrieves it

        running.add_done_callback(leave)
        return await asyncio.shield(running)

    async def _enter(self, group: Hashable, weight: int) -> bool:
        if self._queued.get(group, 0) >= self._longest_queue:
            raise OverloadedError("Too many requests of this organization wait already.")
        waiter = _Waiter(asyncio.get_running_loop().create_future(), weight)
        self._waiting.setdefault(group, deque()).append(waiter)
        self._queued[group] = self._queued.get(group, 0) + weight
        self._advance()
        if waiter.turn.done():
            return False
        try:
            async with asyncio.timeout(self._timeout):
                await waiter.turn
        except BaseException as error:
            if waiter.has_turn:  # the turn came at the moment in which the waiter gave up
                self._leave(group, weight)
            else:
                self._waiting[group].remove(waiter)
                self._unqueue(group, waiter)
                self._advance()
            if isinstance(error, TimeoutError):
                raise OverloadedError from error
            raise
        return True

    def _unqueue(self, group: Hashable, waiter: _Waiter) -> None:
        """Subtract a waiter that has left the queue of its group."""
        self._queued[group] -= waiter.weight
        if not self._waiting[group]:
            del self._waiting[group], self._queued[group]

    def _leave(self, group: Hashable, weight: int) -> None:
        self._free += weight
        self._used[group] -= weight
        if self._used[group] == 0:
            del self._used[group]
        self._advance()

    def _advance(self) -> None:
        """Give turns while there is room. If the next waiter needs more, all others wait behind it."""
        while True:
            within_share = (  # the group that has waited longest comes first
                group
                for group, queue in self._waiting.items()
                if self._used.get(group, 0) + queue[0].weight <= self._share
            )
            group = next(within_share, None)
            if group is None or (queue := self._waiting[group])[0].weight > self._free:
                return
            waiter = queue.popleft()
            self._free -= waiter.weight
            self._used[group] = self._used.get(group, 0) + waiter.weight
            self._waiting.move_to_end(group)
            self._unqueue(group, waiter)
            waiter.has_turn = True
            if not waiter.turn.done():  # else it has given up and is about to withdraw
                waiter.turn.set_result(None)
