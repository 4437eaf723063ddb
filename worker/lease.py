"""What time does to a run: its lease is renewed while it lives, and its deadline ends it."""

import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from shared.db import OUTAGE_ERRORS, Sessions, unit_of_work
from shared.runs import leases
from shared.runs.lifecycle import RunStatus
from shared.settings import Settings
from worker.cancellation import CancelToken, StopReason

log = structlog.get_logger(__name__)

RETRY_PAUSE: Final = 0.5  # seconds until a renewal is tried again while PostgreSQL is away


@dataclass(slots=True)
class _Held:
    attempt: int
    token: CancelToken
    renewed_at: float  # monotonic seconds, taken before the renewal was sent
    deadline: float | None = None  # monotonic seconds


class LeaseKeeper:
    """One thread that renews the leases of all runs of a process, and watches their deadlines.

    A run that can no longer be renewed because PostgreSQL is away is stopped after
    `database_outage_grace`, by this process' monotonic clock. Until then the fence protects it:
    whoever takes it over changes the attempt.
    """

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions = sessions
        self._lease_ttl = settings.lease_ttl
        self._heartbeat = settings.heartbeat.total_seconds()
        self._give_up_after = max(settings.database_outage_grace, settings.lease_ttl).total_seconds()
        self._held: dict[uuid.UUID, _Held] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @contextmanager
    def hold(self, run_id: uuid.UUID, attempt: int, token: CancelToken) -> Generator[None]:
        """Renew a run's lease during the block; fire its token when it is lost."""
        with self._changed:
            self._held[run_id] = _Held(attempt, token, renewed_at=time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
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
                self._changed.notify()

    def close(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=self._heartbeat)

    def _run(self) -> None:
        next_beat = time.monotonic() + self._heartbeat
        while True:
            with self._changed:
                if self._is_closed:
                    return
                self._changed.wait(max(0.0, self._next_wake(next_beat) - time.monotonic()))
            self._enforce_deadlines()
            if time.monotonic() >= next_beat:
                is_done = self._beat()
                next_beat = time.monotonic() + (self._heartbeat if is_done else RETRY_PAUSE)

    def _next_wake(self, next_beat: float) -> float:
        deadlines = [held.deadline for held in self._held.values() if held.deadline is not None]
        return min([next_beat, *deadlines])

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
        except OUTAGE_ERRORS as error:
            log.warning("leases not renewed", runs=len(held), error=str(error.__cause__ or error))
            self._give_up(held)
            return False
        for run_id in renewal.kept:
            held[run_id].renewed_at = started
        for run_id, status in renewal.lost.items():
            self._lose(run_id, held[run_id], status)
        return True

    def _give_up(self, held: dict[uuid.UUID, _Held]) -> None:
        oldest = time.monotonic() - self._give_up_after
        for run_id, one in held.items():
            if one.renewed_at < oldest and one.token.cancel(StopReason.DATABASE_LOST):
                log.error("run given up: its lease could not be renewed", run_id=str(run_id))

    def _lose(self, run_id: uuid.UUID, held: _Held, status: RunStatus | None) -> None:
        with self._changed:
            if self._held.get(run_id) is not held:
                return  # it ended while the renewal was under way
        cancelled = status is RunStatus.CANCELLED
        if held.token.cancel(StopReason.CANCELLED if cancelled else StopReason.LEASE_LOST):
            log.info("lease lost", run_id=str(run_id), attempt=held.attempt, status=status)
