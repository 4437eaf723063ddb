"""Keeping the lines that a structure run's program writes."""

import uuid
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from shared.database_errors import is_passing
from shared.db import unit_of_work
from shared.errors import LeaseLostError
from shared.runs.lifecycle import RunStatus
from shared.structures.reports import append_lines
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.outage import persistently
from worker.resources import Resources


class LineKeeper:
    """Stores lines of one attempt, fenced like its events."""

    def __init__(self, resources: Resources, run_id: uuid.UUID, attempt: int, token: CancelToken) -> None:
        self._resources = resources
        self._run_id = run_id
        self._attempt = attempt
        self._token = token

    def keep(self, lines: Sequence[tuple[str, str]]) -> None:
        """Store lines, each with its stream.

        Raises:
            RunStopped: the run is no longer this attempt's, or PostgreSQL was away for too long.
        """

        def append() -> None:
            with unit_of_work(self._resources.sessions) as session:
                append_lines(session, self._run_id, lines, attempt=self._attempt)

        try:
            persistently(append, grace=self._resources.settings.database_outage_grace)
        except LeaseLostError as lost:
            cancelled = lost.status == RunStatus.CANCELLED
            self._token.cancel(StopReason.CANCELLED if cancelled else StopReason.LEASE_LOST)
            raise RunStopped from lost
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            self._token.cancel(StopReason.DATABASE_LOST)
            raise RunStopped from error
