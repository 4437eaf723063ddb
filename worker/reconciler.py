"""The reconciler, a process of its own: what was lost is found, sent again or ended.

Any number may run: each row is worked on by whoever locks it first. It knows the truth from
PostgreSQL alone, and works while there is no worker.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

import redis
import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared import beats
from shared.celery_app import make_celery
from shared.database_errors import is_passing, words_of
from shared.db import Sessions, make_engine, make_sessions, unit_of_work
from shared.dispatch import Dispatcher
from shared.failures import plain_failures
from shared.idempotency.service import forget_expired
from shared.models import JsonObject, ProcessKind, Run
from shared.processes.hidden import hide_memory
from shared.runs import queries, shares, transitions
from shared.runs.admission import admit_next, find_free_threads_waited_for
from shared.runs.effects import follow
from shared.runs.lifecycle import Reason, RunStatus, StoppedHow, Trigger, timed_out_message
from shared.settings import Settings
from shared.starting import begin, demand_schema
from worker.outage import Contact

log = structlog.get_logger(__name__)

BATCH: Final = 200
"""Runs worked on in one transaction."""


class Reconciler:
    """One round looks for everything that should not stay as it is."""

    def __init__(self, settings: Settings, sessions: Sessions, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._contact = Contact(settings)
        self._name = f"{socket.gethostname()}/{os.getpid()}"

    def round(self) -> int:
        """Do one round.

        Returns:
            The number of runs that were moved, completed or sent again.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away.
        """
        steps = (
            self._take_over,
            self._confirm_stops,
            self._expire,
            self._time_out,
            self._admit,
            self._fill_shares,
        )
        changed = sum(self._repeat(step) for step in steps) + self._send_again()
        self._repeat(partial(forget_expired, limit=BATCH))
        return changed

    def run(self, stop: threading.Event) -> None:
        """Do rounds until told to stop."""
        pause = self._settings.reconcile_interval.total_seconds()
        while not stop.is_set():
            try:
                if changed := self.round():
                    log.info("reconciled", runs=changed)
                self._beat()
            except SQLAlchemyError as error:
                if not is_passing(error):
                    raise
                log.warning("database away", error=words_of(error))
            stop.wait(pause)
        self._leave()

    def _beat(self) -> None:
        with unit_of_work(self._sessions) as session:
            beats.beat(session, self._name, ProcessKind.RECONCILER)
            beats.forget_silent(session)

    def _leave(self) -> None:
        try:
            with unit_of_work(self._sessions) as session:
                beats.leave(session, self._name)
        except SQLAlchemyError as error:
            log.warning("database away", error=words_of(error))

    def _repeat(self, step: Callable[[Session], int]) -> int:
        total = 0
        while True:
            with unit_of_work(self._sessions) as session:
                done = step(session)
            total += done
            if done < BATCH:
                return total

    def _may_judge_leases(self, session: Session) -> bool:
        return self._contact.is_steady(session.scalars(select(func.now())).one())

    def _take_over(self, session: Session) -> int:
        if not self._may_judge_leases(session):
            return 0
        lost = queries.lock_lost(session, lease_ttl=self._settings.lease_ttl, limit=BATCH)
        for run in lost:
            self._take_over_one(session, run)
        return len(lost)

    def _take_over_one(self, session: Session, run: Run) -> None:
        was_running = run.status is RunStatus.RUNNING
        default = self._settings.max_attempts_running if was_running else self._settings.max_attempts
        limit = run.max_attempts or default
        losses, worker, attempt = run.losses + 1, run.worker, run.attempt
        note = log.bind(run_id=str(run.id), attempt=attempt, worker=worker, of_process=run.process)
        detail: JsonObject = {"reason": Reason.WORKER_LOST, "worker": worker, "losses": losses}
        detail["message"] = f"The worker {worker} was lost while the run was {run.status}."
        if losses < limit:
            trigger = Trigger.REQUEUE
        else:
            trigger = Trigger.BREAK
            if limit > 1:
                detail["reason"] = Reason.TOO_MANY_ATTEMPTS
                detail["message"] += f" It was the last of {limit} attempts."
        self._apply(session, run, trigger, detail, attempt=attempt, losses=losses)
        note.warning("run lost", move=trigger)

    def _apply(
        self, session: Session, run: Run, trigger: Trigger, detail: JsonObject, *, attempt: int, **values: int
    ) -> None:
        applied = transitions.apply(session, run.id, trigger, attempt=attempt, detail=detail, values=values)
        follow(session, self._dispatcher, applied)

    def _confirm_stops(self, session: Session) -> int:
        if not self._may_judge_leases(session):
            return 0
        unconfirmed = queries.lock_unconfirmed_stops(session, limit=BATCH)
        for run in unconfirmed:
            transitions.record_stop(session, run.id, StoppedHow.WORKER_LOST, attempt=run.attempt)
            log.info("stop never confirmed", run_id=str(run.id), attempt=run.attempt, worker=run.worker)
        return len(unconfirmed)

    def _expire(self, session: Session) -> int:
        expired = queries.lock_expired(session, queue_ttl=self._settings.queue_ttl, limit=BATCH)
        for run in expired:
            limit = (run.queue_ttl or self._settings.queue_ttl).total_seconds()
            detail = {"reason": Reason.EXPIRED, "message": f"No worker took the run within {limit:g} s."}
            self._apply(session, run, Trigger.BREAK, detail, attempt=run.attempt)
            log.warning("run expired", run_id=str(run.id), attempt=run.attempt, limit_seconds=limit)
        return len(expired)

    def _time_out(self, session: Session) -> int:
        overdue = queries.lock_overdue(
            session,
            max_duration=self._settings.max_duration,
            margin=self._settings.cancel_grace + queries.OVERDUE_MARGIN,
            limit=BATCH,
        )
        for run in overdue:
            limit = run.max_duration or self._settings.max_duration
            detail = {"reason": Reason.TIMED_OUT, "message": timed_out_message(limit)}
            self._apply(session, run, Trigger.BREAK, detail, attempt=run.attempt)
            log.warning("run timed out", run_id=str(run.id), attempt=run.attempt, worker=run.worker)
            if not run.is_external:
                self._dispatcher.revoke(session, run.id, attempt=run.attempt)
        return len(overdue)

    def _admit(self, session: Session) -> int:
        free = find_free_threads_waited_for(session, limit=BATCH)
        admitted = [admit_next(session, self._dispatcher, thread_id) for thread_id in free]
        for run_id in filter(None, admitted):
            log.warning("run was left waiting for a free thread", run_id=str(run_id))
        return len(admitted)

    def _fill_shares(self, session: Session) -> int:
        """Have sent what waits for a share that has room: whoever was to send it was stopped, or cut off."""
        share = self._settings.running_share
        waiting = shares.waiting_organizations(session, share=share, limit=BATCH)
        for organization_id in waiting:
            self._dispatcher.enqueue_next(session, organization_id)
        return 0

    def _send_again(self) -> int:
        """Send again what was lost on its way, and nothing whose message still waits behind others."""
        after, share = self._settings.republish_after, self._settings.running_share
        with unit_of_work(self._sessions) as session:
            if not queries.is_any_late(session, after=after, share=share):
                return 0
        try:
            waiting = self._dispatcher.waiting_tasks()
        except redis.RedisError as error:
            log.warning("broker away", error=str(error))
            return 0
        return self._repeat(partial(self._republish, waiting=waiting))

    def _republish(self, session: Session, *, waiting: frozenset[str] | None) -> int:
        undelivered = queries.lock_undelivered(
            session,
            after=self._settings.republish_after,
            waiting=waiting,
            share=self._settings.running_share,
            limit=BATCH,
        )
        for run in undelivered:
            run.dispatched_at = func.now()
            run.dispatch_count += 1
            self._dispatcher.enqueue(session, run.id, attempt=run.attempt + 1, kind=run.kind)
            log.info("run sent again", run_id=str(run.id), attempt=run.attempt + 1)
        return len(undelivered)


def main() -> None:
    """Run the reconciler until SIGTERM or SIGINT."""
    hide_memory()
    with plain_failures():
        settings = begin("reconciler")
        demand_schema(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = make_engine(settings, pool_size=2)
    dispatcher = Dispatcher.make(settings, make_celery(settings))
    log.info("reconciler started")
    Reconciler(settings, make_sessions(engine), dispatcher).run(stop)
    dispatcher.close()
    engine.dispose()
    log.info("reconciler stopped")


if __name__ == "__main__":
    main()
