"""Shared transactions: what callers want while one is under way is done in the next, with one statement."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import structlog
from anyio import CapacityLimiter
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.traffic.batches import Batches, Done
from shared.assistants import acceptance
from shared.assistants.acceptance import Accepted, KnownAssistants, Offer
from shared.db import Fault, Sessions, fault_of, run_after_commit, words_of
from shared.dispatch.dispatcher import Dispatcher
from shared.models import Run
from shared.runs import service
from shared.runs.together import Cancel

Item = TypeVar("Item")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class SharedTransactions(Generic[Item, Result]):
    """One transaction at a time, each for all items that were waiting for it."""

    def __init__(
        self,
        sessions: Sessions,
        work: Callable[[Session, Sequence[Item]], Sequence[Result | None]],
        *,
        kind: str,
        threads: CapacityLimiter,
    ) -> None:
        """Make the transactions of one kind of work.

        Args:
            work: does items in a transaction; it returns their results in order, None for what it leaves out.
            kind: names the work in the log.
            threads: as many as there are connections for all kinds of work.
        """
        self._sessions = sessions
        self._work = work
        self._kind = kind
        self._batches = Batches(self._do_together, threads=threads)

    async def do(self, item: Item, *, size: int = 0) -> Result | None:
        """Do an item; None if nothing of it is done, and doing it alone has to find out why.

        Args:
            size: bytes of what the caller has sent.

        Raises:
            SQLAlchemyError: PostgreSQL is away; the item may be done.
        """
        return await self._batches.do(item, size=size)

    def _do_together(self, items: Sequence[Item]) -> Done[Result | None]:
        with self._sessions() as session:
            try:
                with session.begin():
                    results = self._work(session, items)
            except SQLAlchemyError as error:
                if fault_of(error) is Fault.OUTAGE:
                    raise
                # Nothing is done. Each item is done by itself, so that one of them fails alone.
                log.warning("not done together", kind=self._kind, items=len(items), cause=words_of(error))
                return Done([None] * len(items), lambda: None)
            return Done(results, partial(run_after_commit, session))


def shared_creates(
    sessions: Sessions, dispatcher: Dispatcher, threads: CapacityLimiter
) -> SharedTransactions[Offer, Accepted]:
    """Make the transactions that store new runs; what is left out is for `shared.assistants.runs.submit`."""
    known = KnownAssistants()

    def accept(session: Session, offers: Sequence[Offer]) -> list[Accepted | None]:
        return acceptance.accept(session, dispatcher, offers, known=known)

    return SharedTransactions(sessions, accept, kind="creates", threads=threads)


def shared_cancels(
    sessions: Sessions, dispatcher: Dispatcher, threads: CapacityLimiter
) -> SharedTransactions[Cancel, Run]:
    """Make the transactions that cancel runs; what is left out is for `shared.runs.service.cancel`."""

    def cancel(session: Session, cancels: Sequence[Cancel]) -> list[Run | None]:
        return service.cancel_together(session, dispatcher, cancels)

    return SharedTransactions(sessions, cancel, kind="cancels", threads=threads)
