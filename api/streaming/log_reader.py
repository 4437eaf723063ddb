"""Reads of event logs that streams share: readers of one run that want the same slice cause one read."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import exc as sql

from api.streaming.batch import AWAY, Batch, Slice
from api.traffic.admission import Gate
from api.traffic.budget import Budget, Hold
from shared.db import Sessions, is_passing, unit_of_work
from shared.errors import OverloadedError, RunNotFoundError
from shared.events.log import Page, StoredEvent, read

PAGE_EVENTS: Final = 100  # of one read; a slow reader holds no more of them
PAGE_BYTES: Final = 262_144  # likewise, unless a single event is larger
AS_SENT: Final = 2
"""Times its size that an event takes while it is sent: as it is read, and as it is written."""

KEEP_BYTES: Final = 65_536
"""Bytes of a page that is kept for readers who join soon after."""

KEPT_PAGES: Final = 128  # of a process, so that at most 8 MiB are kept
KEEP_TIME: Final = 0.25  # seconds

log = structlog.get_logger(__name__)


def cost_of(found: Slice) -> int:
    """Return the bytes that a reader holds while a slice is sent."""
    return AS_SENT * sum(event.size or 0 for event in found.events)


class Order(asyncio.Future[Slice]):
    """One reader's order of a slice; to cancel it is to withdraw it."""

    hold: Hold
    is_fresh = True
    """Whether the slice is read after it was ordered; else events stored meanwhile may be missing."""

    def hand_over(self, found: Slice) -> None:
        """Give the slice to the reader, who holds its bytes from now on."""
        self.hold.give_back()
        self.hold.grow(cost_of(found))
        self.set_result(found)


@dataclass(slots=True, eq=False)
class _Read:
    """One read, with the orders of all readers who wait for it."""

    orders: list[Order] = field(default_factory=list)
    is_begun: bool = False
    task: asyncio.Task[None] | None = None
    kept: Slice | None = None  # for readers who join soon after


Key = tuple[uuid.UUID, int]


class LogReader:
    """Reads slices of event logs in the lane of streams, each for all readers who wait for it.

    A read takes its bytes from the budget of its tenant first. Each reader who gets the slice holds
    `AS_SENT` times its size until it is sent. Readers for whom there is no room have reads of their own,
    which wait for room in the order in which they came: so none waits behind those who were served before.
    """

    def __init__(self, sessions: Sessions, lane: Gate, budget: Budget) -> None:
        self._sessions = sessions
        self._lane = lane
        self._budget = budget
        self._reads: dict[Key, _Read] = {}
        self._kept = 0

    def order(
        self, run_id: uuid.UUID, start: int, hold: Hold, *, tenant: uuid.UUID, may_be_old: bool = False
    ) -> Order:
        """Order the events of a run from the number `start` on.

        An outage of PostgreSQL, or too long a queue, results in `AWAY`.

        Args:
            run_id: the run.
            start: the number of the first event.
            hold: what holds the bytes of the slice once the order is done.
            tenant: the owner of `hold`.
            may_be_old: a slice that was read just before will do; `is_fresh` tells that it is one.
        """
        key, order = (run_id, start), Order()
        order.hold = hold
        reading = self._reads.get(key)
        kept = None if reading is None else reading.kept
        if may_be_old and kept is not None and self._budget.has_room(tenant, cost_of(kept)):
            order.is_fresh = False
            order.hand_over(kept)
            return order
        self._enqueue(key, order, tenant, may_be_old=may_be_old)
        return order

    def keep_first(self, event: StoredEvent) -> None:
        """Keep the first event of a new run for readers who join at once; they check for later events."""
        self._keep((event.run_id, 0), _Read(), Slice(Batch([event]), total=1, is_closed=False))

    def _enqueue(
        self, key: Key, order: Order, tenant: uuid.UUID, *, may_be_old: bool = False, is_alone: bool = False
    ) -> None:
        """Let an order wait for a read that is under way, if that will do, or for one that begins now."""
        reading = None if is_alone else self._reads.get(key)
        if reading is None or reading.kept is not None or (reading.is_begun and not may_be_old):
            self._forget(key, reading)
            reading = _Read()
            if not is_alone:
                self._reads[key] = reading
            reading.task = asyncio.create_task(self._serve(key, reading, tenant))
        order.is_fresh = not reading.is_begun
        reading.orders.append(order)

        def withdraw(_: asyncio.Future[Slice]) -> None:
            if reading.task is not None and all(one.cancelled() for one in reading.orders):
                reading.task.cancel()
                self._forget(key, reading)

        order.add_done_callback(withdraw)

    async def _serve(self, key: Key, reading: _Read, tenant: uuid.UUID) -> None:
        """Read a slice, and hand it over to those for whom there is room."""

        def read_page() -> Page:
            reading.is_begun = True
            return self._page(*key)

        try:
            with self._budget.holding(tenant) as hold:
                page: Page | None = await hold.read(PAGE_BYTES, self._lane, read_page)
        except OverloadedError:
            page = None
        except RunNotFoundError:
            page = Page(events=[], total=0, is_closed=True)  # the run itself was deleted
        except Exception as error:  # noqa: BLE001  # raised at each reader
            if not (isinstance(error, sql.SQLAlchemyError) and is_passing(error)):
                for order in reading.orders:
                    if not order.done():
                        order.set_exception(error)
                return
            log.debug("replay postponed", run_id=str(key[0]), error=type(error).__name__)
            page = None
        finally:
            reading.task = None
            self._forget(key, reading)
        found = AWAY if page is None else Slice(Batch(page.events), page.total, page.is_closed)
        waiting, reading.orders = [order for order in reading.orders if not order.done()], []
        has_crowd = False
        for number, order in enumerate(waiting):
            if number == 0 or self._budget.has_room(tenant, cost_of(found)):
                order.hand_over(found)
            else:
                has_crowd = True
                self._enqueue(key, order, tenant, is_alone=True)
        if not has_crowd and page is not None:
            self._keep(key, reading, found)

    def _keep(self, key: Key, reading: _Read, found: Slice) -> None:
        """Keep a small slice for readers who join or catch up soon after; they check for later events."""
        is_small = all(event.size is not None for event in found.events) and (
            cost_of(found) <= AS_SENT * KEEP_BYTES
        )
        if is_small and key not in self._reads and self._kept < KEPT_PAGES:
            reading.kept = found
            self._reads[key] = reading
            self._kept += 1
            asyncio.get_running_loop().call_later(KEEP_TIME, self._forget, key, reading)

    def _forget(self, key: Key, reading: _Read | None) -> None:
        """Let no further order wait for a read, or be served by what it left."""
        if reading is not None and self._reads.get(key) is reading:
            del self._reads[key]
            self._kept -= reading.kept is not None

    def _page(self, run_id: uuid.UUID, start: int) -> Page:
        with unit_of_work(self._sessions) as session:
            return read(session, run_id, start=start, limit=PAGE_EVENTS, most=PAGE_BYTES)
