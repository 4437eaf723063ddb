"""Cancels: runs that are cancelled at the same time are cancelled in one transaction, with one statement."""

from collections.abc import Sequence
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.traffic.batches import Batches, Done
from shared.db import Fault, Sessions, fault_of, run_after_commit, words_of
from shared.dispatch.dispatcher import Dispatcher
from shared.models import Run
from shared.runs import service
from shared.runs.together import Wish

log = structlog.get_logger(__name__)


class Cancels:
    """Cancels the runs that callers wish to cancel while an earlier transaction is under way, in the next."""

    def __init__(self, sessions: Sessions, dispatcher: Dispatcher) -> None:
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._batches = Batches(self._cancel)

    async def wish(self, wish: Wish) -> Run | None:
        """Cancel a run; None if it stays as it is, and `service.cancel` has to find out why.

        Raises:
            SQLAlchemyError: PostgreSQL is away; the run may be cancelled.
        """
        return await self._batches.do(wish, size=0)

    def _cancel(self, wishes: Sequence[Wish]) -> Done[Run | None]:
        with self._sessions() as session:
            try:
                with session.begin():
                    runs = service.cancel_together(session, self._dispatcher, wishes)
            except SQLAlchemyError as error:
                if fault_of(error) is Fault.OUTAGE:
                    raise
                # Nothing is changed. Each run is cancelled by itself, so that one of them fails alone.
                log.warning("runs not cancelled together", runs=len(wishes), cause=words_of(error))
                return Done([None] * len(wishes), lambda: None)
            return Done(runs, partial(run_after_commit, session))
