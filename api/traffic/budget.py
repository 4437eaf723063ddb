"""The memory budget of responses: bytes for unread data, bounded per process and per tenant."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

from api.traffic.admission import Gate

Read = TypeVar("Read")

TOTAL: Final = 64 * 1_048_576  # bytes of one process
SHARE: Final = 16 * 1_048_576  # bytes of one tenant


class Budget:
    """Bounds the bytes that responses hold at once; without room a response waits until others are read.

    Slow readers of one tenant delay no other tenant until four tenants have used up their shares. Data
    that is larger than a share takes the whole share.
    """

    def __init__(self, *, total: int = TOTAL, share: int = SHARE) -> None:
        self._total = total
        self._share = share
        self._used: defaultdict[uuid.UUID, int] = defaultdict(int)
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """The bytes that are held now."""
        return sum(tuple(self._used.values()))

    @contextmanager
    def holding(self, tenant: uuid.UUID) -> Generator["Hold"]:
        """Open the hold of one reader; the end of the block gives its bytes back."""
        hold = Hold(self, tenant)
        try:
            yield hold
        finally:
            hold.give_back()

    async def take(self, tenant: uuid.UUID, size: int) -> int:
        """Wait for room for `size` bytes, at most a share; take it and return its size."""
        wanted = min(size, self._share)
        while not self.has_room(tenant, wanted):
            self._freed.clear()
            await self._freed.wait()
        self._used[tenant] += wanted
        return wanted

    def overdraw(self, tenant: uuid.UUID, size: int) -> None:
        """Take bytes without waiting, for data that is in memory already; others wait longer."""
        self._used[tenant] += size

    def give_back(self, tenant: uuid.UUID, size: int) -> None:
        """Give bytes back. Only the event loop may call it."""
        self._used[tenant] -= size
        if not self._used[tenant]:
            del self._used[tenant]
        self._freed.set()

    def has_room(self, tenant: uuid.UUID, size: int) -> bool:
        """Whether a tenant may take `size` bytes, within its share and the total. Any thread may call it."""
        own = self._used.get(tenant, 0)
        return own + size <= self._share and self.used + size <= self._total


class _Crowded:
    """The result of a read that found no room left when its turn came."""


_CROWDED: Final = _Crowded()


class Hold:
    """The bytes that one reader holds."""

    def __init__(self, budget: Budget, tenant: uuid.UUID) -> None:
        self._budget = budget
        self._tenant = tenant
        self._size = 0

    async def read(self, size: int, lane: Gate, work: Callable[..., Read], *args: object) -> Read:
        """Give back the held bytes, wait for room for `size` bytes, and read in a lane.

        The data may turn out to be larger than `size`. Then the readers that wait for the lane wait for
        room again, so at most the reads of one lane exceed a share.

        Raises:
            OverloadedError: no turn in the lane came in time.
        """

        def work_unless_overdrawn() -> Read | _Crowded:
            return work(*args) if self._budget.has_room(self._tenant, 0) else _CROWDED

        while True:
            self.give_back()
            self._size = await self._budget.take(self._tenant, size)
            found = await lane.run(self._tenant, work_unless_overdrawn)
            if not isinstance(found, _Crowded):
                return found

    def grow(self, size: int) -> None:
        """Hold `size` bytes if that is more than now: the data turned out to be larger."""
        if size > self._size:
            self._budget.overdraw(self._tenant, size - self._size)
            self._size = size

    def give_back(self) -> None:
        """Give all bytes back."""
        if self._size:
            self._budget.give_back(self._tenant, self._size)
            self._size = 0
