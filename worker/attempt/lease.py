"""Leases and deadlines: a process renews the leases of its runs, and stops runs that take too long."""

import contextvars
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from shared.db import Sessions, is_passing, unit_of_work, words_of
from shared.metrics import definitions as metrics
from shared.runs import leases
from shared.runs.leases import Renewal
from shared.settings import Settings
from worker.cancellation import CancelToken, StopReason
from worker.vitals import vitals

log = structlog.get_logger(__name__)

RETRY_INTERVAL: Final = 0.5  # seconds between two renewals while PostgreSQL is away


@dataclass(slots=True)
class _Held:
    attempt: int
    token: CancelToken
    renewed_at: float  # monotonic seconds, taken before the renewal was sent
    context: contextvars.Context  # the run's, for log lines
    deadline: float | None = None  # monotonic seconds

    def tell(self, write: Callable[..., object], event: str, **fields: object) -> None:
        """Log a line about the run."""
        self.context.copy().run(partial(write, event, attempt=self.attempt, **fields))


class LeaseKeeper:
    """Two threads for all runs of a process: one renews their leases, the other watches their deadlines.

    The watch makes no queries, so a hanging PostgreSQL does not hang it.

    A run whose lease cannot be renewed because PostgreSQL is away is stopped after `database_outage_grace`,
    by this process' monotonic clock. Until then the fence protects it: a worker that takes it over changes
    the attempt. An error of a renewal ends neither thread; if one dies all the same, the process is
    replaced (`worker.vitals`).
    """

    def __init__(
        self,
        sessions: Sessions,
        settings: Settings,
        *,
        between_ticks: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Prepare to renew.

        Args:
            between_ticks: keeps the batch writer away from the rows (`BatchWriter.between_ticks`).
        """
        self._sessions = sessions
        self._between_ticks = between_ticks
        self._lease_ttl = settings.lease_ttl
        self._heartbeat = settings.heartbeat.total_seconds()
        self._give_up_after = max(settings.database_outage_grace, settings.lease_ttl).total_seconds()
        self._held: dict[uuid.UUID, _Held] = {}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    @property
    def runs(self) -> int:
        """How many runs the process holds."""
        return len(self._held)

    @contextmanager
    def hold(self, run_id: uuid.UUID, attempt: int, token: CancelToken) -> Generator[None]:
        """Renew a run's lease during the block; fire its token when it is lost."""
        with self._changed:
            self._held[run_id] = _Held(
                attempt, token, renewed_at=time.monotonic(), context=contextvars.copy_context()
            )
            self._changed.notify_all()
            if not self._threads:
                self._threads = [
                    vitals.start("leases", self._renew),
                    vitals.start("deadlines", self._watch),
                ]
        try:
            yield
        finally:
            self.release(run_id, attempt)

    def release(self, run_id: uuid.UUID, attempt: int) -> None:
        """Stop renewing the lease of an attempt. Another attempt of the run in this process is left alone."""
        with self._changed:
            held = self._held.get(run_id)
            if held is not None and held.attempt == attempt:
                del self._held[run_id]

    def set_deadline(self, run_id: uuid.UUID, seconds: float) -> None:
        """Fire the run's token with TIMED_OUT, `seconds` from now."""
        with self._changed:
            held = self._held.get(run_id)
            if held is not None:
                held.deadline = time.monotonic() + seconds
                self._changed.notify_all()

    def close(self) -> None:
        """Stop both threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout=self._heartbeat)

    def _renew(self) -> None:
        pause = self._heartbeat
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, pause):
                    return
            pause = self._heartbeat if self._beat() else RETRY_INTERVAL

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                active = [held for held in self._held.values() if not held.token.is_cancelled]
                instants = [held.renewed_at + self._give_up_after for held in active]
                instants += [held.deadline for held in active if held.deadline is not None]
                self._changed.wait(max(0.0, min(instants) - time.monotonic()) if instants else None)
                now = time.monotonic()
                due = [
                    held for held in self._held.values() if held.deadline is not None and held.deadline <= now
                ]
                for held in due:
                    held.deadline = None
            for held in due:
                held.token.cancel(StopReason.TIMED_OUT)
            self._give_up()

    def _beat(self) -> bool:
        with self._changed:
            held = dict(self._held)
        if not held:
            return True
        started = time.monotonic()
        with self._between_ticks():  # a writer that is stuck ends this thread, and so the process
            renewal = self._renewal({run_id: one.attempt for run_id, one in held.items()})
        if renewal is None:
            return False
        for run_id in renewal.kept:
            held[run_id].renewed_at = started
        for run_id, status in renewal.lost.items():
            lost = held[run_id]
            with self._changed:  # it may have ended while the renewal was under way
                is_held = self._held.get(run_id) is lost
            if is_held and lost.token.lose(status):
                lost.tell(log.info, "lease lost", run_id=str(run_id), status=status)
        return len(renewal.kept) + len(renewal.lost) == len(held)

    def _renewal(self, held: dict[uuid.UUID, int]) -> Renewal | None:
        """Renew the leases of runs, by their attempts; None if that failed."""
        try:
            with unit_of_work(self._sessions) as session:
                return leases.renew(session, held, lease_ttl=self._lease_ttl)
        except Exception as error:  # noqa: BLE001  # without renewals every run of this process is lost
            metrics.LEASE_ERRORS.inc()
            note = log.bind(runs=len(held), error=words_of(error))
            if is_passing(error):
                note.warning("leases not renewed")
            else:
                note.exception("leases not renewed")
            return None

    def _give_up(self) -> None:
        oldest = time.monotonic() - self._give_up_after
        with self._changed:
            late = {run_id: held for run_id, held in self._held.items() if held.renewed_at <= oldest}
        for run_id, one in late.items():
            if one.token.cancel(StopReason.DATABASE_LOST):
                one.tell(log.error, "run given up: its lease could not be renewed", run_id=str(run_id))
