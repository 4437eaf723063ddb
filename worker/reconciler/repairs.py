"""What the reconciler repairs: lost, overdue and expired runs, stops and threads that nobody took care of."""

import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db import Fault, after_commit, fault_of, is_passing, part_of, words_of
from shared.dispatch import shares
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import TransitionRefusedError
from shared.lifecycle import Reason, RunStatus, StatusDetail, StoppedHow, Trigger, timed_out_message
from shared.metrics import definitions as metrics
from shared.models import Run
from shared.rows.paging import Position
from shared.runs import moves, queries, receipts
from shared.settings import Settings
from shared.threads.turns import admit_next, find_free_threads_waited_for
from shared.tracing import AttemptTrace
from worker.reconciler.laps import Lap, Repair
from worker.reconciler.lease_trust import LeaseTrust

LOCK_TIMEOUT: Final = "1s"
"""How long a repair waits for what somebody holds, such as the thread of a run; a later round does it."""

log = structlog.get_logger(__name__)


class Repairs:
    """Each kind of repair: what needs it, and what is done about each."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher, lease_trust: LeaseTrust) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._lease_trust = lease_trust

    def laps(self) -> Sequence[Lap[Any]]:
        """Begin a lap of each kind, in the order in which a round does them."""
        settings = self._settings
        of_runs = partial(Lap[Run], position_of=queries.position_of)
        by_id = partial(Lap[uuid.UUID], position_of=lambda one: one)
        return (
            of_runs(self._lock_lost, self._take_over),
            of_runs(self._lock_unconfirmed, self._confirm_stop),
            of_runs(partial(queries.lock_expired, queue_ttl=settings.queue_ttl), self._expire),
            of_runs(self._lock_overdue, self._time_out),
            by_id(find_free_threads_waited_for, self._admit),
            by_id(partial(shares.waiting_organizations, share=settings.running_share), self._fill_share),
        )

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
        note = log.bind(**facts_of(run), worker=run.worker, of_process=run.process)
        begins_anew = trigger is Trigger.REQUEUE
        move = moves.requeue if begins_anew else moves.break_
        repair = self._moves(session, move, run, attempt=run.attempt, detail=detail, losses=losses)
        if repair is Repair.DONE:
            after_commit(session, record_in_trace)
            count_repair(session, "requeued" if begins_anew else "broken")
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
            count_repair(session, "stop_confirmed")
            log.info("stop never confirmed", **facts_of(run), worker=run.worker)
        return repair

    def _expire(self, session: Session, run: Run) -> Repair:
        limit = (run.queue_ttl or self._settings.queue_ttl).total_seconds()
        detail = StatusDetail(Reason.EXPIRED, f"No worker took the run within {limit:g} s.")
        repair = self._moves(session, moves.break_, run, attempt=run.attempt + 1, detail=detail)
        if repair is Repair.DONE:
            count_repair(session, "expired")
            log.warning("run expired", **facts_of(run), limit_seconds=limit)
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
            count_repair(session, "timed_out")
            log.warning("run timed out", **facts_of(run), worker=run.worker)
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
            log.info("run left: it ended with its caller", **facts_of(run), reason=str(refusal))
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
        facts = facts_of(run)
        try:
            with _patient_part_of(session):
                return Repair.DONE if work() else Repair.NEEDLESS
        except TransitionRefusedError:
            raise
        except Exception as error:
            if fault_of(error) is Fault.CONTENTION:
                reason = words_of(error)
                log.warning("run left: somebody holds what its repair concerns", **facts, reason=reason)
                return Repair.LEFT
            if is_passing(error):
                raise
            log.exception("run left as it is: it cannot be repaired", **facts)
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
        count_repair(session, "admitted")
        log.warning("run was left waiting for a free thread", run_id=str(run_id))
        return Repair.DONE

    def _fill_share(self, session: Session, organization_id: uuid.UUID) -> Repair:
        """Send runs that wait for a share with room: the process that was to send them died or lost Redis.

        Whether any is sent shows after the commit.
        """
        self._dispatcher.enqueue_next(session, organization_id)
        return Repair.LEFT


@contextmanager
def _patient_part_of(session: Session) -> Generator[None]:
    """Run a block as a part of a transaction that waits for no lock longer than `LOCK_TIMEOUT`."""
    with part_of(session):
        session.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
        yield


def facts_of(run: Run) -> dict[str, object]:
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


def count_repair(session: Session, action: str) -> None:
    """Count an action once it is committed."""
    after_commit(session, partial(metrics.RECONCILER_ACTIONS.inc, action))
