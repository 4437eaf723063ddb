"""Memory for what is on its way to readers: so many bytes a process, and a share of them a tenant."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

from api.admission import Gate

Read = TypeVar("Read")

TOTAL: Final = 64 * 1_048_576  # bytes
SHARE: Final = 16 * 1_048_576  # bytes, of one tenant


class Budget:
    """Bytes that are held for readers at once; whoever finds none left waits for a reader to have read.

    Tenants do not wait for each other's slow readers until four of them have used up their shares. What
    is larger than a share has it alone.
    """

    def __init__(self, *, total: int = TOTAL, share: int = SHARE) -> None:
        self._total = total
        self._share = share
        self._used: defaultdict[uuid.UUID, int] = defaultdict(int)
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes that are held at the moment."""
        return sum(tuple(self._used.values()))

    @contextmanager
    def holding(self, tenant: uuid.UUID) -> Generator["Hold"]:
        """What one reader of a tenant holds; it is given back at the end of the block."""
        hold = Hold(self, tenant)
        try:
            yield hold
        finally:
            hold.give_back()

    async def take(self, tenant: uuid.UUID, size: int) -> int:
        """Wait for room for so many bytes, and take it; return how many were taken."""
        wanted = min(size, self._share)
        while not self._has_room(tenant, wanted):
            self._freed.clear()
            await self._freed.wait()
        self._used[tenant] += wanted
        return wanted

    def overdraw(self, tenant: uuid.UUID, size: int) -> None:
        """Take bytes that are there already, without waiting; others wait the longer for it."""
        self._used[tenant] += size

    def is_overdrawn(self, tenant: uuid.UUID) -> bool:
        """Whether more is held, of a tenant or of all, than there is; callable from any thread."""
        return not self._has_room(tenant, 0)

    def give_back(self, tenant: uuid.UUID, size: int) -> None:
        """Give bytes back; callable on the event loop."""
        self._used[tenant] -= size
        if not self._used[tenant]:
            del self._used[tenant]
        self._freed.set()

    def _has_room(self, tenant: uuid.UUID, size: int) -> bool:
        own = self._used.get(tenant, 0)
        return own + size <= self._share and self.used + size <= self._total


class _Crowded:
    """There was no room left when the turn came."""


_CROWDED: Final = _Crowded()


class Hold:
    """Bytes that one reader holds."""

    def __init__(self, budget: Budget, tenant: uuid.UUID) -> None:
        self._budget = budget
        self._tenant = tenant
        self._size = 0

    async def take(self, size: int) -> None:
        """Hold so many bytes instead of what was held before."""
        self.give_back()
        self._size = await self._budget.take(self._tenant, size)

    async def read(self, size: int, lane: Gate, work: Callable[..., Read], *args: object) -> Read:
        """Read something in a lane, when there is room for `size` bytes instead of those held before.

        What is read may turn out to be larger; then those who have waited for the lane meanwhile wait
        for room again. So beyond a share there is no more than what a lane reads at once.

        Raises:
            OverloadedError: there was no turn in the lane in time.
        """
        while True:
            await self.take(size)
            found: Read | _Crowded = await lane.run(self._tenant, self._unless_overdrawn, work, *args)
            if not isinstance(found, _Crowded):
                return found

    def _unless_overdrawn(self, work: Callable[..., Read], *args: object) -> Read | _Crowded:
        return _CROWDED if self._budget.is_overdrawn(self._tenant) else work(*args)

    def grow(self, size: int) -> None:
        """Hold so many bytes if that is more: what came was larger than could be told before."""
        if size > self._size:
            self._budget.overdraw(self._tenant, size - self._size)
            self._size = size

    def give_back(self) -> None:
        """Hold nothing more."""
        if self._size:
            self._budget.give_back(self._tenant, self._size)
            self._size = 0
