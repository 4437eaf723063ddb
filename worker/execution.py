"""One run, from claim to outcome."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.beats import this_process
from shared.database_errors import is_passing, words_of
from shared.db import unit_of_work
from shared.errors import RunNotFoundError, ShareUsedUpError, TransitionRefusedError
from shared.models import JsonObject
from shared.runs import service, shares, transitions
from shared.runs.effects import follow
from shared.runs.lifecycle import (
    TRANSITIONS,
    Reason,
    StoppedHow,
    Trigger,
    timed_out_message,
)
from shared.runs.service import Success
from shared.structures.runs import end_of_program
from worker.calls import StructureCalls
from worker.cancellation import RunStopped, Seat, StopReason
from worker.context import Claimed, Means, build_context, load_claimed
from worker.event_writer import EventWriter
from worker.executors.base import (
    Executor,
    ExecutorEvent,
    Exited,
    Failed,
    InvalidConfigurationError,
    LogLine,
    LogStream,
    Outcome,
    PlatformError,
    RunContext,
    Succeeded,
)
from worker.executors.registry import resolve as resolve_executor
from worker.executors.structure import make_executor as make_program_executor
from worker.guardrails.guarded import guarded
from worker.ladder import Ladder
from worker.line_keeper import LineKeeper
from worker.outage import persistently
from worker.redaction import EventRedactor, redact
from worker.repeats import Repeats
from worker.resources import Resources
from worker.revocation import cancel_revoked
from worker.usage import UsageMeter

T = TypeVar("T")

log = structlog.get_logger(__name__)

UNEXPECTED: Final = "Something went wrong in the worker; it was logged."

PROGRAM_MARGIN: Final = 4.0  # seconds beyond the grace in which a program is killed, and seen to be gone


class Ending(StrEnum):
    """How this attempt ended, as its worker sees it."""

    NOT_CLAIMED = "not_claimed"  # a stale or second message; nothing was done
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BROKEN = "broken"  # ended in ERROR
    CANCELLED = "cancelled"
    REQUEUED = "requeued"  # given back while draining
    LOST = "lost"  # the run is no longer this attempt's
    ABANDONED = "abandoned"  # its code would not stop


def execute(
    resources: Resources,
    run_id: uuid.UUID,
    attempt: int,
    seat: Seat,
    *,
    resolve: Callable[[str], Executor] = resolve_executor,
) -> Ending:
    """Execute one attempt of a run in this thread and bring it to an end, whatever happens.

    Args:
        resolve: finds the executor of a model; raises InvalidConfigurationError if there is none.

    Nothing is raised for what the run, its assistant or its callers do. What could not be recorded
    because PostgreSQL was away for too long is left to the reconciler.
    """
    if not _claim(resources, run_id, attempt):
        return Ending.NOT_CLAIMED
    ending = Attempt(resources, run_id, attempt, seat, resolve).run()
    log.info("run attempt ended", ending=ending)
    return ending


def _claim(resources: Resources, run_id: uuid.UUID, attempt: int) -> bool:
    try:
        with unit_of_work(resources.sessions) as session:
            applied = transitions.claim(
                session,
                run_id,
                attempt=attempt,
                worker=resources.worker_name,
                process=this_process(),
                lease_ttl=resources.settings.lease_ttl,
            )
            shares.require_room(session, applied.run, share=resources.settings.running_share)
            follow(session, resources.dispatcher, applied)
    except (TransitionRefusedError, RunNotFoundError) as refusal:
        log.info("run not claimed", reason=str(refusal))
        return False
    except ShareUsedUpError as refusal:
        log.info("run not claimed", reason=str(refusal))
        _put_back(resources, run_id)
        return False
    except SQLAlchemyError as error:  # the run stays QUEUED; the reconciler sends it again
        if not is_passing(error):
            raise
        log.warning("run not claimed", reason=words_of(error))
        return False
    log.info("run claimed")
    return True


def _put_back(resources: Resources, run_id: uuid.UUID) -> None:
    try:
        with unit_of_work(resources.sessions) as session:
            if (organization_id := shares.put_back(session, run_id)) is not None:
                resources.dispatcher.enqueue_next(session, organization_id)
    except SQLAlchemyError as error:  # the reconciler sends it again
        if not is_passing(error):
            raise
        log.warning("run not put back", reason=words_of(error))


@dataclass(frozen=True, slots=True)
class _Stopped:
    how: StoppedHow


@dataclass(frozen=True, slots=True)
class _Broken:
    reason: Reason
    message: str


class Attempt:
    """A claimed run on its way to an end; every write is fenced by its attempt."""

    def __init__(
        self,
        resources: Resources,
        run_id: uuid.UUID,
        number: int,
        seat: Seat,
        resolve: Callable[[str], Executor],
    ) -> None:
        self._resources = resources
        self._resolve = resolve
        self._run_id = run_id
        self._number = number
        self._seat = seat
        self._token = seat.token
        self._usage = UsageMeter()
        self._redactor = EventRedactor()
        self._repeats = Repeats("")
        self._follows_lines = False
        self._max_duration = resources.settings.max_duration
        self._ending = Ending.LOST
        self._writer = EventWriter(resources, self._run_id, self._number, self._token)

    def run(self) -> Ending:
        with self._resources.leases.hold(self._run_id, self._number, self._token):
            try:
                self._start_and_execute()
            except Exception as error:
                if is_passing(error):
                    log.warning("run left to the reconciler", reason=words_of(error))
                    self._ending = Ending.LOST
                else:
                    log.exception("run attempt broke")
                    self._break(Reason.INTERNAL_ERROR, UNEXPECTED)
        return self._ending

    def _start_and_execute(self) -> None:
        try:
            context = self._prepare()
            executor = self._executor(context)
        except InvalidConfigurationError as error:
            self._break(Reason.INVALID_CONFIGURATION, str(error))
            return
        if not self._start(context):
            return
        ladder = self._ladder(is_program=context.program is not None)
        result = self._work(ladder, context, executor)
        if ladder.gave_up:
            self._ending = Ending.ABANDONED
            return
        self._tell_rest()
        self._writer.close()
        # What it said last may have got lost: then it has not succeeded, whatever it returned.
        self._finish(_Stopped(ladder.how) if self._writer.is_broken else result)

    def _tell_rest(self) -> None:
        try:
            for event in self._redactor.rest():
                self._tell(event)
            for event in self._repeats.rest():
                self._writer.emit(event)
        except RunStopped:
            log.info("end of an answer not told: the run is to stop")

    def _prepare(self) -> RunContext:
        def load() -> Claimed:
            with unit_of_work(self._resources.sessions) as session:
                return load_claimed(session, self._run_id, self._resources.settings)

        claimed = self._persistently(load)
        self._usage.add_given_up(claimed.earlier.spent)
        self._repeats = Repeats(claimed.earlier.shown)
        self._follows_lines = claimed.earlier.has_lines
        of_attempt = (self._resources, self._run_id, self._number, self._token)
        calls = StructureCalls(*of_attempt, execute=partial(execute, self._resources))
        means = Means(LineKeeper(*of_attempt).keep, calls.call)
        return build_context(self._resources.settings, claimed, self._token, means)

    def _executor(self, context: RunContext) -> Executor:
        if context.program is None:
            return guarded(self._resolve(context.model), context.guardrails)
        return make_program_executor(self._resources.settings)

    def _ladder(self, *, is_program: bool) -> Ladder:
        """The way to stop the run's code; a program is given its whole grace before it is killed."""
        grace = self._resources.settings.cancel_grace.total_seconds()
        if not is_program:
            return Ladder(self._token, grace=grace, give_up=self._abandon)
        patience = grace + PROGRAM_MARGIN
        share = (grace + PROGRAM_MARGIN / 2) / patience
        return Ladder(self._token, grace=patience, give_up=self._abandon, cooperative_share=share)

    def _start(self, context: RunContext) -> bool:
        if not self._apply(Trigger.START):
            self._stopped(StoppedHow.COOPERATIVE)
            return False
        self._max_duration = context.max_duration
        self._resources.leases.set_deadline(self._run_id, context.max_duration.total_seconds())
        log.info("run started", model=context.model)
        return True

    def _emit(self, event: ExecutorEvent) -> None:
        self._usage.count(event)
        for passed in self._redactor.passed(event):
            self._tell(passed)

    def _tell(self, event: ExecutorEvent) -> None:
        for told in self._repeats.passed(event):
            self._writer.emit(told)

    def _work(self, ladder: Ladder, context: RunContext, executor: Executor) -> Outcome | _Stopped | _Broken:
        try:
            if context.program is not None and self._follows_lines:
                said = f"[Begun again, as attempt {self._number}: what is above does not count.]"
                context.program.write_lines([LogLine(LogStream.STDERR, said)])
            outcome = ladder.watch(lambda: executor(context, self._emit))
        except RunStopped as stopped:
            return _Stopped(stopped.how or ladder.how)
        except InvalidConfigurationError as error:
            return _Broken(Reason.INVALID_CONFIGURATION, str(error))
        except Exception as error:
            if context.program is None and not isinstance(error, PlatformError):
                log.warning("assistant failed", error_type=type(error).__name__, exc_info=True)
                return Failed(f"{type(error).__name__}: {error}")
            return self._broken(error)
        return _Stopped(ladder.how) if self._token.is_cancelled else outcome

    def _broken(self, error: Exception) -> _Stopped | _Broken:
        """What comes of a run that the platform failed; one that was to stop anyway has stopped."""
        log.error("platform failed a run", error_type=type(error).__name__, exc_info=error)
        if self._token.is_cancelled:
            return _Stopped(StoppedHow.KILLED)
        return _Broken(Reason.INTERNAL_ERROR, str(error) if isinstance(error, PlatformError) else UNEXPECTED)

    def _finish(self, result: Outcome | _Stopped | _Broken) -> None:
        match result:
            case Succeeded(output, prompt, detail):
                self._succeed(Success(prompt, self._redactor.cleaned(output), self._usage.total(), detail))
            case Failed(message, reason, more):
                self._fail(reason, message, more)
            case Exited(exit_code, message):
                self._end_program(exit_code, redact(message))
            case _Broken(reason, message):
                self._break(reason, message)
            case _Stopped(how):
                self._stopped(how)

    def _succeed(self, success: Success) -> None:
        def succeed(session: Session) -> None:
            service.succeed(session, self._resources.dispatcher, self._run_id, success, attempt=self._number)

        if self._move((Trigger.SUCCEED,), succeed):
            self._ending = Ending.SUCCEEDED
        else:
            self._stopped(StoppedHow.COOPERATIVE)

    def _end_program(self, exit_code: int, message: str) -> None:
        ending = Ending.LOST

        def end(session: Session) -> None:
            nonlocal ending
            has_succeeded = end_of_program(
                session,
                self._resources.dispatcher,
                self._run_id,
                exit_code=exit_code,
                message=message,
                attempt=self._number,
            )
            ending = Ending.SUCCEEDED if has_succeeded else Ending.FAILED

        if self._move((Trigger.SUCCEED, Trigger.FAIL), end):
            self._ending = ending
        else:
            self._stopped(StoppedHow.COOPERATIVE)

    def _fail(self, reason: Reason, message: str, more: Mapping[str, Any]) -> None:
        detail = {**more, "reason": reason, "message": redact(message)}
        if self._apply(Trigger.FAIL, detail, usage=self._usage.total()):
            self._ending = Ending.FAILED
        else:
            self._stopped(StoppedHow.COOPERATIVE)

    def _stopped(self, how: StoppedHow) -> None:
        """End a run whose code has stopped, or been left behind, for the reason its token gives."""
        match self._token.reason:
            case StopReason.TIMED_OUT:
                self._break(Reason.TIMED_OUT, timed_out_message(self._max_duration))
            case StopReason.DRAINED:
                self._requeue(how)
            case StopReason.CANCELLED | None:
                self._record_cancel(how)
            case StopReason.DATABASE_LOST:
                self._break(Reason.INTERNAL_ERROR, "What the run did could not be recorded.")
            case StopReason.LEASE_LOST:
                self._ending = Ending.LOST

    def _break(self, reason: Reason, message: str) -> None:
        detail = {"reason": reason, "message": redact(message)}
        if self._apply(Trigger.BREAK, detail, usage=self._usage.total()):
            self._ending = Ending.BROKEN
        else:
            self._record_cancel(StoppedHow.COOPERATIVE)

    def _requeue(self, how: StoppedHow) -> None:
        detail = {
            "reason": Reason.WORKER_DRAINED,
            "message": "Its worker was stopped; it starts anew.",
            "worker": self._resources.worker_name,
        }
        if self._apply(Trigger.REQUEUE, detail):
            self._ending = Ending.REQUEUED
        else:
            self._record_cancel(how)

    def _record_cancel(self, how: StoppedHow) -> None:
        """Complete the receipt; if the work was stopped from outside, cancel the run first."""

        def record() -> bool:
            with unit_of_work(self._resources.sessions) as session:
                if self._token.reason is StopReason.CANCELLED:
                    cancel_revoked(session, self._resources.dispatcher, self._run_id, attempt=self._number)
                return transitions.record_stop(
                    session, self._run_id, how, attempt=self._number, usage=self._usage.total()
                )

        was_cancelled = self._persistently(record)
        self._ending = Ending.CANCELLED if was_cancelled else Ending.LOST
        log.info("run stopped", how=how, was_cancelled=was_cancelled)

    def _abandon(self) -> None:
        """Leave behind code that does not stop; called in the ladder's thread."""
        log.error("run abandoned: its code does not stop", reason=self._token.reason)
        try:
            self._stopped(self._seat.last_resort)
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.warning("run left to the reconciler", reason=words_of(error))
        finally:
            self._resources.leases.release(self._run_id, self._number)
            self._seat.abandon()

    def _apply(self, trigger: Trigger, detail: JsonObject | None = None, **values: Any) -> bool:
        """Apply a transition of this attempt; False if the run is no longer its own."""

        def apply(session: Session) -> None:
            applied = transitions.apply(
                session, self._run_id, trigger, attempt=self._number, detail=detail, values=values
            )
            follow(session, self._resources.dispatcher, applied)

        return self._move((trigger,), apply)

    def _move(self, triggers: Sequence[Trigger], move: Callable[[Session], None]) -> bool:
        """Do one of some moves of this attempt, however often its commit has to be repeated.

        Returns:
            False if the run is no longer this attempt's.
        """
        targets = {target for trigger in triggers for target in TRANSITIONS[trigger].values()}

        def once() -> bool:
            try:
                with unit_of_work(self._resources.sessions) as session:
                    move(session)
            except TransitionRefusedError as refusal:
                # A commit whose answer got lost went through: the run is where it was to go.
                return refusal.status in targets and refusal.attempt == self._number
            return True

        return self._persistently(once)

    def _persistently(self, work: Callable[[], T]) -> T:
        return persistently(work, grace=self._resources.settings.database_outage_grace)
