"""Memory for what is on its way to readers: so many bytes a process, and a share of them a tenant."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

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
        return sum(self._used.values())

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

    def give_back(self, tenant: uuid.UUID, size: int) -> None:
        """Give bytes back; callable on the event loop."""
        self._used[tenant] -= size
        if not self._used[tenant]:
            del self._used[tenant]
        self._freed.set()

    def _has_room(self, tenant: uuid.UUID, size: int) -> bool:
        own = self._used.get(tenant, 0)
        return own + size <= self._share and self.used + size <= self._total


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

    def give_back(self) -> None:
        """Hold nothing more."""
        if self._size:
            self._budget.give_back(self._tenant, self._size)
            self._size = 0
