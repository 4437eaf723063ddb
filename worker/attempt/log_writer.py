"""The log writer of a structure run: stores the lines that its program prints."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import LeaseLostError
from shared.fence import held_by
from shared.models import Run
from shared.structures.reports import append_lines
from worker.attempt.held_run import HeldRun
from worker.executors.base import LogLine


class LogWriter:
    """Stores lines of one attempt, fenced like its events. One thread at a time uses it."""

    def __init__(self, held: HeldRun) -> None:
        self._held = held
        self._count: int | None = None  # lines of the run that are stored; None before the first write

    def write_log(self, lines: Sequence[LogLine]) -> None:
        """Store lines.

        Raises:
            RunStopped: the run is no longer this attempt's, or PostgreSQL was away for too long.
        """
        rows = [(line.stream.value, line.text) for line in lines]

        def append(session: Session) -> int:
            held = held_by(self._held.attempt, run_id=self._held.id)
            count = session.scalar(select(Run.log_count).where(held))
            if count is None:
                status = session.scalar(select(Run.status).where(Run.id == self._held.id))
                raise LeaseLostError(status=status)
            if self._count is None:
                self._count = count
            if count == self._count:  # else a commit whose answer got lost has stored them
                append_lines(session, self._held.id, rows, attempt=self._held.attempt)
            return self._count + len(rows)

        self._count = self._held.write(append)
