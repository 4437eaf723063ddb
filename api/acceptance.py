"""Acceptance: runs that are created at the same time are stored in one transaction, with one statement."""

from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.traffic.batches import Batches, Done
from shared.assistants import acceptance
from shared.assistants.acceptance import Accepted, KnownAssistants, Offer
from shared.db import Fault, Sessions, fault_of, run_after_commit, words_of
from shared.dispatch.dispatcher import Dispatcher

log = structlog.get_logger(__name__)


class Acceptance:
    """Stores the runs that are offered while an earlier transaction is under way, in the next one."""

    def __init__(self, sessions: Sessions, dispatcher: Dispatcher) -> None:
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._known = KnownAssistants()
        self._batches = Batches(self._accept)

    async def offer(self, offer: Offer, *, size: int) -> Accepted | None:
        """Store a run; None if it is not stored, and `submit` has to find out why.

        Args:
            size: bytes of what the caller has sent.

        Raises:
            SQLAlchemyError: PostgreSQL is away; the run may be stored.
        """
        return await self._batches.do(offer, size=size)

    def _accept(self, offers: Sequence[Offer]) -> Done[Accepted | None]:
        with self._sessions() as session:
            try:
                with session.begin():
                    runs = acceptance.accept(session, self._dispatcher, offers, known=self._known)
            except SQLAlchemyError as error:
                if fault_of(error) is Fault.OUTAGE:
                    raise
                # Nothing is stored. Each run is submitted by itself, so that one of them fails alone.
                log.warning("runs not stored together", runs=len(offers), cause=words_of(error))
                return Done([None] * len(offers), lambda: None)
            return Done(runs, partial(run_after_commit, session))
