"""Who goes next: gates before what is scarce, with a queue that is fair to every organization."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread

from shared.errors import OverloadedError

MAX_QUEUE: Final = 2000
"""Those of one group that may wait at a gate; each is a connection, and its body is counted elsewhere."""

Result = TypeVar("Result")


@dataclass(slots=True)
class _Waiter:
    turn: asyncio.Future[None]
    weight: int
    has_turn: bool = False


class Gate:
    """Lets in only as much at once as there is room for; the others wait before they take anything.

    Groups take turns, and inside a group the first to come is the first to go. No group has more than
    its share, so that whoever fills it waits behind itself alone. It belongs to one event loop.
    """

    def __init__(
        self, capacity: int, *, share: int | None = None, queue: int = MAX_QUEUE, patience: float
    ) -> None:
        """Make a gate.

        Args:
            capacity: what all together may have at once.
            share: what one group may have of it at once; everything if absent.
            queue: what of one group may wait, in the same unit.
            patience: seconds that one may wait for its turn.
        """
        self.capacity = capacity
        self._share = capacity if share is None else min(share, capacity)
        self._longest_queue = queue
        self._patience = patience
        self._free = capacity
        self._used: dict[Hashable, int] = {}
        self._waiting: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()
        self._queued: dict[Hashable, int] = {}  # what waits of each group
        self._threads = CapacityLimiter(capacity)

    @property
    def waiting(self) -> int:
        """Those who wait at the moment."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def admit(self, group: Hashable, weight: int = 1) -> AsyncGenerator[bool]:
        """Wait for a turn, and hold it during the block.

        Args:
            group: whose turn it is to be; an organization, as a rule.
            weight: how much of the capacity it takes; a share is the most that counts.

        Yields:
            Whether there was a wait.

        Raises:
            OverloadedError: there was no turn in time, or too many of the group wait already.
        """
        weight = max(1, min(weight, self._share))
        has_waited = await self._enter(group, weight)
        try:
            yield has_waited
        finally:
            self._leave(group, weight)

    async def run(self, group: Hashable, work: Callable[..., Result], *args: object) -> Result:
        """Wait for a turn, then run a function in a thread that nobody else can have.

        A caller that is cancelled leaves at once; the turn is over when the function is.

        Raises:
            OverloadedError: as `admit`.
        """
        await self._enter(group, 1)
        running = asyncio.ensure_future(to_thread.run_sync(work, *args, limiter=self._threads))

        def leave(done: asyncio.Future[Result]) -> None:
            self._leave(group, 1)
            if not done.cancelled():
                done.exception()  # the caller may have left, and then nobody else asks for it

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
            async with asyncio.timeout(self._patience):
                await waiter.turn
        except BaseException as error:
            self._withdraw(group, waiter)
            if isinstance(error, TimeoutError):
                raise OverloadedError from error
            raise
        return True

    def _withdraw(self, group: Hashable, waiter: _Waiter) -> None:
        if waiter.has_turn:
            self._leave(group, waiter.weight)  # the turn came at the moment in which the waiter gave up
            return
        self._waiting[group].remove(waiter)
        self._unqueue(group, waiter)
        self._advance()

    def _unqueue(self, group: Hashable, waiter: _Waiter) -> None:
        """Forget one who has left the queue of a group."""
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
        """Give turns as long as there is room; whoever is next and needs more of it holds up the others."""
        while (group := self._next_group()) is not None:
            queue = self._waiting[group]
            if queue[0].weight > self._free:
                return
            waiter = queue.popleft()
            self._free -= waiter.weight
            self._used[group] = self._used.get(group, 0) + waiter.weight
            self._waiting.move_to_end(group)
            self._unqueue(group, waiter)
            waiter.has_turn = True
            if not waiter.turn.done():  # else it has given up, and is about to say so
                waiter.turn.set_result(None)

    def _next_group(self) -> Hashable | None:
        """The group that waits longest for its turn, among those whose share is not used up."""
        for group, queue in self._waiting.items():
            if self._used.get(group, 0) + queue[0].weight <= self._share:
                return group
        return None
