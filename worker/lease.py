"""What time does to a run: its lease is renewed while it lives, and its deadline ends it."""

import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from shared.database_errors import is_passing, words_of
from shared.db import Sessions, unit_of_work
from shared.runs import leases
from shared.runs.lifecycle import RunStatus
from shared.settings import Settings
from worker.cancellation import CancelToken, StopReason
from worker.vitals import vitals

log = structlog.get_logger(__name__)

RETRY_PAUSE: Final = 0.5  # seconds until a renewal is tried again while PostgreSQL is away


@dataclass(slots=True)
class _Held:
    attempt: int
    token: CancelToken
    renewed_at: float  # monotonic seconds, taken before the renewal was sent
    deadline: float | None = None  # monotonic seconds


class LeaseKeeper:
    """Two threads for all runs of a process: one renews their leases, the other watches their time.

    The watch asks nobody anything, so that a PostgreSQL that hangs does not hang it.

    A run that can no longer be renewed because PostgreSQL is away is stopped after
    `database_outage_grace`, by this process' monotonic clock. Until then the fence protects it:
    whoever takes it over changes the attempt. Neither thread ends for an error of a renewal; should one
    die all the same, the process is replaced (`worker.vitals`).
    """

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions = sessions
        self._lease_ttl = settings.lease_ttl
        self._heartbeat = settings.heartbeat.total_seconds()
        self._give_up_after = max(settings.database_outage_grace, settings.lease_ttl).total_seconds()
        self._held: dict[uuid.UUID, _Held] = {}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    @contextmanager
    def hold(self, run_id: uuid.UUID, attempt: int, token: CancelToken) -> Generator[None]:
        """Renew a run's lease during the block; fire its token when it is lost."""
        with self._changed:
            self._held[run_id] = _Held(attempt, token, renewed_at=time.monotonic())
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
        """Renew no more. A run that has moved on to another attempt here is left alone."""
        with self._changed:
            held = self._held.get(run_id)
            if held is not None and held.attempt == attempt:
                del self._held[run_id]

    def set_deadline(self, run_id: uuid.UUID, seconds: float) -> None:
        """Fire the run's token, TIMED_OUT, `seconds` from now."""
        with self._changed:
            held = self._held.get(run_id)
            if held is not None:
                held.deadline = time.monotonic() + seconds
                self._changed.notify_all()

    def close(self) -> None:
        """Renew nothing any more."""
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
            pause = self._heartbeat if self._beat() else RETRY_PAUSE

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                self._changed.wait(self._time_left())
            self._enforce_deadlines()
            self._give_up()

    def _time_left(self) -> float | None:
        """Seconds until the next run is due to be stopped; None if there is none."""
        active = [held for held in self._held.values() if not held.token.is_cancelled]
        deadlines = [held.deadline for held in active if held.deadline is not None]
        instants = [*deadlines, *(held.renewed_at + self._give_up_after for held in active)]
        return max(0.0, min(instants) - time.monotonic()) if instants else None

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        with self._changed:
            due = [held for held in self._held.values() if held.deadline is not None and held.deadline <= now]
            for held in due:
                held.deadline = None
        for held in due:
            held.token.cancel(StopReason.TIMED_OUT)

    def _beat(self) -> bool:
        with self._changed:
            held = dict(self._held)
        if not held:
            return True
        started = time.monotonic()
        try:
            with unit_of_work(self._sessions) as session:
                renewal = leases.renew(
                    session,
                    {run_id: one.attempt for run_id, one in held.items()},
                    lease_ttl=self._lease_ttl,
                )
        except Exception as error:  # noqa: BLE001  # without renewals every run of this process is lost
            note = log.bind(runs=len(held), error=words_of(error))
            if is_passing(error):
                note.warning("leases not renewed")
            else:
                note.exception("leases not renewed")
            return False
        for run_id in renewal.kept:
            held[run_id].renewed_at = started
        for run_id, status in renewal.lost.items():
            self._lose(run_id, held[run_id], status)
        return True

    def _give_up(self) -> None:
        oldest = time.monotonic() - self._give_up_after
        with self._changed:
            late = {run_id: held for run_id, held in self._held.items() if held.renewed_at <= oldest}
        for run_id, one in late.items():
            if one.token.cancel(StopReason.DATABASE_LOST):
                log.error(
                    "run given up: its lease could not be renewed", run_id=str(run_id), attempt=one.attempt
                )

    def _lose(self, run_id: uuid.UUID, held: _Held, status: RunStatus | None) -> None:
        with self._changed:
            if self._held.get(run_id) is not held:
                return  # it ended while the renewal was under way
        cancelled = status is RunStatus.CANCELLED
        if held.token.cancel(StopReason.CANCELLED if cancelled else StopReason.LEASE_LOST):
            log.info("lease lost", run_id=str(run_id), attempt=held.attempt, status=status)
