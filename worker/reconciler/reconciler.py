"""The reconciler process: finds lost, overdue and undelivered runs, and requeues, ends or resends them.

Any number may run: each row is handled by the reconciler that locks it first. It reads PostgreSQL alone, and
works without workers.
"""

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import redis
import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from shared import tracing
from shared.celery_app import make_celery
from shared.db import (
    Fault,
    Sessions,
    after_commit,
    fault_of,
    is_passing,
    make_engine,
    make_sessions,
    part_of,
    unit_of_work,
    words_of,
)
from shared.dispatch import shares
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import TransitionRefusedError
from shared.idempotency.service import forget_expired
from shared.lifecycle import Reason, RunStatus, StatusDetail, StoppedHow, Trigger, timed_out_message
from shared.metrics import definitions as metrics
from shared.models import ProcessKind, Run
from shared.processes import beats
from shared.processes.ending import end_process
from shared.processes.exporter import Exporter, listen, token_of
from shared.processes.failures import plain_failures
from shared.processes.garbage import settle_garbage
from shared.processes.hidden import hide_memory
from shared.processes.metrics import OwnMetrics
from shared.processes.pulse import Fact, Kind, Limits, Pulse
from shared.processes.starting import begin, begin_pulse, demand_schema, probe_limit
from shared.processes.stop_signals import sets
from shared.retention.policy import Policy
from shared.rows.paging import Position
from shared.runs import moves, queries, receipts
from shared.settings import Settings
from shared.threads.turns import admit_next, find_free_threads_waited_for
from shared.tracing import AttemptTrace
from worker.reconciler.laps import BATCH, Lap, Repair
from worker.reconciler.lease_trust import LeaseTrust
from worker.reconciler.observer import Observer
from worker.reconciler.purger import Purger

log = structlog.get_logger(__name__)

TURN_LIMIT: Final = 300.0
"""Seconds for one transaction, beside the pause after a round; it may wait for the locks of a migration."""

LOCK_TIMEOUT: Final = "1s"
"""How long a repair waits for what somebody holds, such as the thread of a run; a later round does it."""


class Reconciler:
    """Each round checks for every kind of run that needs repair."""

    def __init__(
        self, settings: Settings, sessions: Sessions, dispatcher: Dispatcher, *, pulse: Pulse | None = None
    ) -> None:
        """Prepare to reconcile.

        Args:
            pulse: shows each transaction as a turn; None shows it to nobody.
        """
        self._pulse = pulse or Pulse.unseen()
        self._settings = settings
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._lease_trust = LeaseTrust(settings)
        self.name = f"{socket.gethostname()}/{os.getpid()}"  # among the beats
        of_runs = partial(Lap[Run], position_of=queries.position_of)
        by_id = partial(Lap[uuid.UUID], position_of=lambda one: one)
        self._laps = (
            of_runs(self._lock_lost, self._take_over),
            of_runs(self._lock_unconfirmed, self._confirm_stop),
            of_runs(partial(queries.lock_expired, queue_ttl=settings.queue_ttl), self._expire),
            of_runs(self._lock_overdue, self._time_out),
            by_id(find_free_threads_waited_for, self._admit),
            by_id(partial(shares.waiting_organizations, share=settings.running_share), self._fill_share),
        )

    def round(self) -> int:
        """Do one round.

        Returns:
            The number of runs that were moved, completed or resent.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is down.
        """
        changed = sum(lap.go_on(self._sessions, self._beat) for lap in self._laps) + self._send_again()
        self._repeat(partial(forget_expired, limit=BATCH))
        return changed

    def run(self, stop: threading.Event) -> None:
        """Do rounds until `stop` is set."""
        interval = self._settings.reconcile_interval.total_seconds()
        self._lease_trust.begin()
        while not stop.is_set():
            begun_at = time.monotonic()
            self._pulse.beat(Fact.TURN)
            try:
                if changed := self.round():
                    log.info("reconciled", runs=changed)
                with unit_of_work(self._sessions) as session:
                    beats.beat(session, self.name, ProcessKind.RECONCILER)
                    beats.forget_silent(session)
                metrics.RECONCILER_ROUNDS.inc("done")
                metrics.RECONCILER_ROUND_SECONDS.observe(time.monotonic() - begun_at)
            except SQLAlchemyError as error:
                if not is_passing(error):
                    raise
                metrics.RECONCILER_ROUNDS.inc("database_away")
                log.warning("database away", error=words_of(error))
            stop.wait(interval)
        try:
            with unit_of_work(self._sessions) as session:
                beats.leave(session, self.name)
        except SQLAlchemyError as error:
            log.warning("database away", error=words_of(error))

    def _repeat(self, step: Callable[[Session], int]) -> int:
        """Do a step that never fails of a row until it finds nothing more; return what it has done in all."""
        total = 0
        while True:
            self._beat()
            with unit_of_work(self._sessions) as session:
                done = step(session)
            if not done:
                return total
            total += done

    def _beat(self) -> None:
        self._pulse.beat(Fact.TURN)

    def _can_judge_leases(self, session: Session) -> bool:
        return self._lease_trust.can_judge(session.scalars(select(func.now())).one())

    def _lock_lost(self, session: Session, *, after: Position | None, limit: int) -> Sequence[Run]:
        if not self._can_judge_leases(session):
            return []
        return queries.lock_lost(session, lease_ttl=self._settings.lease_ttl, after=after, limit=limit)

    def _take_over(self, session: Session, run: Run) -> Repair:
        losses = run.losses + 1
        trigger, detail = self._verdict(run, losses)
        record_in_trace = _recording(run, ending="lost")
        note = log.bind(**_about(run), worker=run.worker, of_process=run.process)
        begins_anew = trigger is Trigger.REQUEUE
        move = moves.requeue if begins_anew else moves.break_
        repair = self._moves(session, move, run, attempt=run.attempt, detail=detail, losses=losses)
        if repair is Repair.DONE:
            after_commit(session, record_in_trace)
            _count(session, "requeued" if begins_anew else "broken")
            note.warning("run lost", move=trigger)
        return repair

    def _verdict(self, run: Run, losses: int) -> tuple[Trigger, StatusDetail]:
        """What becomes of a run whose worker was lost, and why: it begins anew as long as it may."""
        was_running = run.status is RunStatus.RUNNING
        default = self._settings.max_attempts_running if was_running else self._settings.max_attempts
        limit = run.max_attempts or default
        trigger, reason = Trigger.REQUEUE, Reason.WORKER_LOST
        message = f"The worker {run.worker} was lost while the run was {run.status}."
        if losses >= limit:
            trigger = Trigger.BREAK
            if limit > 1:
                reason = Reason.TOO_MANY_ATTEMPTS
                message += f" It was the last of {limit} attempts."
        return trigger, StatusDetail(reason, message, worker=run.worker, losses=losses)

    def _lock_unconfirmed(self, session: Session, *, after: Position | None, limit: int) -> Sequence[Run]:
        if not self._can_judge_leases(session):
            return []
        return queries.lock_unconfirmed_stops(session, after=after, limit=limit)

    def _confirm_stop(self, session: Session, run: Run) -> Repair:
        record = partial(receipts.record_stop, session, run.id, StoppedHow.WORKER_LOST)
        repair = self._done(session, run, partial(record, attempt=run.attempt))
        if repair is Repair.DONE:
            _count(session, "stop_confirmed")
            log.info("stop never confirmed", **_about(run), worker=run.worker)
        return repair

    def _expire(self, session: Session, run: Run) -> Repair:
        limit = (run.queue_ttl or self._settings.queue_ttl).total_seconds()
        detail = StatusDetail(Reason.EXPIRED, f"No worker took the run within {limit:g} s.")
        repair = self._moves(session, moves.break_, run, attempt=run.attempt + 1, detail=detail)
        if repair is Repair.DONE:
            _count(session, "expired")
            log.warning("run expired", **_about(run), limit_seconds=limit)
        return repair

    def _lock_overdue(self, session: Session, *, after: Position | None, limit: int) -> Sequence[Run]:
        duration, grace = self._settings.max_duration, self._settings.cancel_grace
        return queries.lock_overdue(
            session, max_duration=duration, cancel_grace=grace, after=after, limit=limit
        )

    def _time_out(self, session: Session, run: Run) -> Repair:
        limit = run.max_duration or self._settings.max_duration
        detail = StatusDetail(Reason.TIMED_OUT, timed_out_message(limit))
        record_in_trace = _recording(run, ending="timed_out")
        repair = self._moves(session, moves.break_, run, attempt=run.attempt, detail=detail)
        if repair is Repair.DONE:
            after_commit(session, record_in_trace)
            _count(session, "timed_out")
            log.warning("run timed out", **_about(run), worker=run.worker)
            if not run.is_external:
                self._dispatcher.revoke(session, run.id, attempt=run.attempt)
        return repair

    def _moves(self, session: Session, move: Callable[..., Run], run: Run, **options: Any) -> Repair:
        """Move a run that this transaction has locked.

        What a run has called as a tool is cancelled with it, and may have been found together with it.
        """
        try:
            return self._done(session, run, partial(move, session, self._dispatcher, run.id, **options))
        except TransitionRefusedError as refusal:
            log.info("run left: it ended with its caller", **_about(run), reason=str(refusal))
            return Repair.NEEDLESS

    def _done(self, session: Session, run: Run, work: Callable[[], object]) -> Repair:
        """Do something with a run that this transaction has locked.

        What cannot be done stays undone and is logged: it holds up no other run, now or after a restart. It
        is found again in each round, so that it counts among the stuck runs. The same goes for what concerns
        rows that somebody holds for long.

        Raises:
            TransitionRefusedError: `work` has raised it.
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away.
        """
        about = _about(run)
        try:
            with _patient_part_of(session):
                return Repair.DONE if work() else Repair.NEEDLESS
        except TransitionRefusedError:
            raise
        except Exception as error:
            if fault_of(error) is Fault.CONTENTION:
                reason = words_of(error)
                log.warning("run left: somebody holds what its repair concerns", **about, reason=reason)
                return Repair.LEFT
            if is_passing(error):
                raise
            log.exception("run left as it is: it cannot be repaired", **about)
            return Repair.LEFT

    def _admit(self, session: Session, thread_id: uuid.UUID) -> Repair:
        """Admit a run to a free thread, unless there is none any more, or somebody holds the thread."""
        try:
            with _patient_part_of(session):
                run_id = admit_next(session, self._dispatcher, thread_id)
        except OperationalError as error:
            if fault_of(error) is not Fault.CONTENTION:
                raise
            log.warning("thread left: somebody holds it", thread_id=str(thread_id), reason=words_of(error))
            return Repair.LEFT
        if run_id is None:
            return Repair.NEEDLESS
        _count(session, "admitted")
        log.warning("run was left waiting for a free thread", run_id=str(run_id))
        return Repair.DONE

    def _fill_share(self, session: Session, organization_id: uuid.UUID) -> Repair:
        """Send runs that wait for a share with room: the process that was to send them died or lost Redis.

        Whether any is sent shows after the commit.
        """
        self._dispatcher.enqueue_next(session, organization_id)
        return Repair.LEFT

    def _send_again(self) -> int:
        """Resend runs whose message was lost, and none whose message still waits in a queue."""
        after, share = self._settings.republish_after, self._settings.running_share
        with unit_of_work(self._sessions) as session:
            if not queries.is_any_late(session, after=after, share=share):
                return 0
        try:
            waiting = self._dispatcher.waiting_tasks()
        except redis.RedisError as error:
            metrics.BROKER_ERRORS.inc("reconciler")
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
            owners = shares.owners_of(run)
            self._dispatcher.enqueue(session, run.id, attempt=run.attempt + 1, kind=run.kind, owners=owners)
            _count(session, "sent_again")
            log.info("run sent again", **{**_about(run), "attempt": run.attempt + 1})
        return len(undelivered)


@contextmanager
def _patient_part_of(session: Session) -> Generator[None]:
    """Run a block as a part of a transaction that waits for no lock longer than `LOCK_TIMEOUT`."""
    with part_of(session):
        session.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
        yield


def _about(run: Run) -> dict[str, object]:
    """The fields of a log line about a run."""
    return {
        "run_id": str(run.id),
        "attempt": run.attempt,
        "organization_id": str(run.organization_id),
        "trace_id": run.trace_id,
    }


def _recording(run: Run, *, ending: str) -> Callable[[], None]:
    """What records the span of an attempt, as it is now, that its worker does not end."""
    began = run.started_at or run.dispatched_at or run.queued_at
    trace = AttemptTrace(run.id, run.attempt, run.traceparent)
    return partial(
        trace.end,
        int(began.timestamp() * 1e9),
        error=ending,
        runyard__run__id=str(run.id),
        runyard__run__attempt=run.attempt,
        runyard__run__kind=run.kind,
        runyard__run__ending=ending,
        runyard__organization__id=str(run.organization_id),
        runyard__worker=run.worker,
    )


def _count(session: Session, action: str) -> None:
    """Count an action once it is committed."""
    after_commit(session, partial(metrics.RECONCILER_ACTIONS.inc, action))


@contextmanager
def purging(purger: Purger, stop: threading.Event) -> Generator[None]:
    """Let a purger work beside a block. If it fails, both end, and its error is raised."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            purger.run(stop)
        except BaseException as error:  # noqa: BLE001  # raised in the main thread
            failures.append(error)
            stop.set()

    thread = threading.Thread(target=work, name="purger")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def main() -> None:
    """Run the reconciler until SIGTERM or SIGINT."""
    hide_memory()
    with plain_failures():
        settings = begin("reconciler")
        metrics_listener = listen(settings)
        demand_schema(settings)
    stop = threading.Event()
    on_signal = sets(stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    limits = Limits(
        turn=TURN_LIMIT + settings.reconcile_interval.total_seconds(), alive=probe_limit(settings)
    )
    pulse = begin_pulse(Kind.RECONCILER, beats.this_process(), limits)
    pulse.show_life()
    engine = make_engine(settings, pool_size=3)
    sessions = make_sessions(engine)
    dispatcher = Dispatcher.make(settings, make_celery(settings))
    tracing.start(settings, process="reconciler")
    reconciler = Reconciler(settings, sessions, dispatcher, pulse=pulse)
    if metrics_listener is not None:
        observer = Observer.make(settings, dispatcher, name=reconciler.name)
        Exporter(metrics_listener, OwnMetrics(observer), token=token_of(settings)).start()
        observer.start(stop)
    settle_garbage()
    log.info("reconciler started")
    with purging(Purger(Policy.of(settings), sessions), stop):
        reconciler.run(stop)
    dispatcher.close()
    engine.dispose()
    tracing.close()
    pulse.close()
    log.info("reconciler stopped")


if __name__ == "__main__":
    main()
    end_process(0)  # the observer may be in a statement
