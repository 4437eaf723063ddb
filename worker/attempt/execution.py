"""One attempt of a run: claim, start, execute, conclude."""

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared import tracing
from shared.db import is_passing, unit_of_work, words_of
from shared.dispatch import shares
from shared.errors import LeaseLostError, RunNotFoundError, ShareUsedUpError, TransitionRefusedError
from shared.events.earlier import Earlier, earlier_attempts
from shared.lifecycle import Reason, RunKind, StatusDetail, StoppedHow, Trigger
from shared.logs import frames_of, tell_of_run
from shared.models import Run
from shared.processes.beats import this_process
from shared.runs import moves, receipts
from shared.settings import Settings
from shared.structures.runs import judge_exit
from shared.tracing import AttemptTrace
from worker.attempt.conclusion import Conclusion, Ending, Result, conclude
from worker.attempt.context import PlainRun, load_context, plain_context
from worker.attempt.event_redactor import EventRedactor
from worker.attempt.event_writer import EventWriter
from worker.attempt.held_run import MOVES, HeldRun
from worker.attempt.interruption import Interrupter
from worker.attempt.log_writer import LogWriter
from worker.attempt.repeats import Repeats
from worker.attempt.resources import Resources
from worker.attempt.revocation import cancel_revoked
from worker.attempt.structure_calls import StructureCalls
from worker.attempt.usage import UsageMeter
from worker.cancellation import RunStopped, Slot, StopReason, is_stop
from worker.executors.base import (
    Executor,
    ExecutorEvent,
    Exited,
    Failed,
    InvalidConfigurationError,
    Outcome,
    RunContext,
    Succeeded,
)
from worker.executors.policy import DEFAULT_POLICY, Blame, Policy, policy_of
from worker.executors.registry import executor_of, is_loaded
from worker.guardrails.guarded import guarded
from worker.redaction import redact

log = structlog.get_logger(__name__)

Resolve = Callable[[RunContext, Settings], Executor]
"""Finds the executor of a run; raises InvalidConfigurationError if there is none."""

TOGETHER: Final = frozenset({Trigger.SUCCEED, Trigger.FAIL, Trigger.BREAK})
"""The ends of a run that other runs may end together with, if it stands alone."""

TROUBLE: Final = frozenset({Ending.FAILED, Ending.BROKEN, Ending.ABANDONED})
"""Endings that make the span of an attempt one of an error."""

OWN_FAULT: Final = Policy(blame=Blame.PLATFORM)
"""For errors of the attempt's own code."""


def execute(
    resources: Resources,
    run_id: uuid.UUID,
    attempt: int,
    slot: Slot,
    *,
    resolve: Resolve = executor_of,
) -> Ending:
    """Execute one attempt of a run in this thread, and end it whatever happens.

    Nothing is raised for a fault of the run, its assistant or its callers. If PostgreSQL stays away for too
    long to record the end, the run is left to the reconciler.
    """
    came_at = time.time_ns()
    begun = Attempt(HeldRun(resources, run_id, attempt, slot.token), slot, resolve)
    run = begun.begin() or _claim(resources, run_id, attempt)
    if run is None:
        return Ending.NOT_CLAIMED
    trace = AttemptTrace(run_id, attempt, run.traceparent)
    tell_of_run(organization_id=run.organization_id, trace_id=trace.trace_id)
    log.info("run claimed")
    trace.waited(run.queued_at, came_at)
    trace.scope.record("claim", came_at)
    with trace.entered():
        ending = begun.run()
    log.info("run attempt ended", ending=ending, reason=begun.reason)
    if ending is not Ending.LOST:  # else whoever has ended it records it
        kind = RunKind.ASSISTANT if run.structure_id is None else RunKind.STRUCTURE
        trace.end(
            came_at,
            error=ending if ending in TROUBLE else None,
            runyard__run__id=str(run_id),
            runyard__run__attempt=attempt,
            runyard__run__kind=kind,
            runyard__run__ending=ending,
            runyard__organization__id=str(run.organization_id),
            runyard__worker=resources.worker_name,
            gen_ai__operation__name="invoke_agent" if run.assistant_id else None,
            gen_ai__agent__id=str(run.assistant_id) if run.assistant_id else None,
        )
    return ending


def _claim(resources: Resources, run_id: uuid.UUID, attempt: int) -> Run | None:
    """Claim the run. If PostgreSQL is away, the run stays QUEUED and the reconciler sends it again."""
    try:
        with unit_of_work(resources.sessions) as session:
            return moves.claim(
                session,
                resources.dispatcher,
                run_id,
                attempt=attempt,
                worker=resources.worker_name,
                process=this_process(),
                lease_ttl=resources.settings.lease_ttl,
            )
    except (TransitionRefusedError, RunNotFoundError) as refusal:
        log.info("run not claimed", reason=str(refusal))
        return None
    except ShareUsedUpError as refusal:
        log.info("run not claimed", reason=str(refusal))
        _put_back(resources, run_id)
        return None
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise
        log.warning("run not claimed", reason=words_of(error))
        return None


def _put_back(resources: Resources, run_id: uuid.UUID) -> None:
    """Note that the run is not sent any more; the next run of its tenant may be."""
    try:
        with unit_of_work(resources.sessions) as session:
            if (organization_id := shares.put_back(session, run_id)) is not None:
                resources.dispatcher.enqueue_next(session, organization_id)
    except SQLAlchemyError as error:  # the reconciler sends it again
        if not is_passing(error):
            raise
        log.warning("run not put back", reason=words_of(error))


class Attempt:
    """A claimed run on its way to an end."""

    def __init__(self, held: HeldRun, slot: Slot, resolve: Resolve) -> None:
        self.reason: Reason | None = None  # that the move to its end has given, once it is made
        self._held = held
        self._slot = slot
        self._resolve = resolve
        self._usage = UsageMeter()
        self._redactor = EventRedactor()
        self._repeats = Repeats("")
        self._writer = EventWriter(held)
        self._max_duration = held.resources.settings.max_duration
        self._prepared: tuple[RunContext, Executor] | None = None
        self._stands_alone = False
        self._plain: PlainRun | None = None

    def begin(self) -> PlainRun | None:
        """Claim and start the run together with others, if it is plain.

        Returns:
            The run, which is RUNNING. None if it is to be claimed alone; that shows why it cannot start.
        """
        held = self._held
        if held.resources.dispatcher.share is not None:  # whose claims take turns
            return None
        has_begun = held.resources.batches.begin(held.id, held.attempt, self._prepare)
        self._stands_alone = has_begun
        if not has_begun:
            self._prepared = self._plain = None
        return self._plain

    def _prepare(self, run: PlainRun) -> bool:
        settings = self._held.resources.settings
        self._plain = run
        try:
            context = plain_context(run, settings, token=self._held.token)
            if self._resolve is executor_of and not is_loaded(context.model):
                return False
            self._prepared = context, self._resolve(context, settings)
        except BaseException as error:  # noqa: BLE001  # it is raised again once the run is claimed
            log.debug("run not plain", run_id=str(run.id), error_type=type(error).__name__)
            return False
        return True

    def run(self) -> Ending:
        """Execute the run, and commit what becomes of it."""
        with self._held.resources.leases.hold(self._held.id, self._held.attempt, self._held.token):
            try:
                try:
                    return self._execute()
                except Exception as error:
                    log.exception("run attempt broke")
                    return self._end(error, policy=OWN_FAULT)
            except RunStopped:  # by a write: the run is another attempt's, or PostgreSQL is away for too long
                log.warning("run left to the reconciler", reason=self._held.token.reason)
                return Ending.LOST

    def _execute(self) -> Ending:
        held = self._held
        try:
            started = self._prepared or self._start()
        except InvalidConfigurationError as error:
            return self._end(error)
        if started is None:
            return self._end(None)
        context, executor = started
        self._max_duration = context.max_duration
        held.resources.leases.set_deadline(held.id, context.max_duration.total_seconds())
        log.info("run started", model=context.model)
        grace: timedelta = held.resources.settings.cancel_grace
        policy = policy_of(executor)
        interrupter = Interrupter(
            held.token, grace=grace.total_seconds(), give_up=self._abandon, policy=policy
        )
        result = self._work(partial(executor, context, self._emit), interrupter, policy)
        if interrupter.gave_up:
            return Ending.ABANDONED
        self._emit_rest()
        if self._end_together(conclusion := conclude(result)):
            return self._ended(conclusion)
        if conclusion.trigger is Trigger.CANCEL and self._writer.stop(
            conclusion.stopped_how, self._usage.total()
        ):
            log.info("run stopped", how=conclusion.stopped_how, was_cancelled=True)
            return Ending.CANCELLED
        self._writer.close()
        if self._writer.is_broken:  # without its last events the run has not succeeded
            result = replace(result, outcome=None, stop_reason=held.token.reason)
        return self._commit(conclude(result))

    def _start(self) -> tuple[RunContext, Executor] | None:
        """Prepare and start the run, which was claimed alone; None if it is not to start any more.

        Raises:
            InvalidConfigurationError: the run cannot be executed.
            RunStopped: the run is lost.
        """
        held = self._held
        try:
            with tracing.span("load"):
                context = self._load()
                executor = guarded(self._resolve(context, held.resources.settings), context.guardrails)
            with tracing.span("store start"):
                has_started = held.move(Trigger.START)
        except RunStopped:
            if held.token.reason is not StopReason.CANCELLED:
                raise
            return None
        return (context, executor) if has_started else None

    def _end_together(self, conclusion: Conclusion) -> bool:
        """End a run that stands alone together with others; return whether it has ended."""
        if not self._stands_alone or conclusion.trigger not in TOGETHER:
            return False
        options = self._redacted(conclusion)
        options.pop("prompt", None)  # for the thread that it does not have
        with tracing.span("store end"):
            return self._writer.end(conclusion.trigger, **options)

    def _load(self) -> RunContext:
        held = self._held

        def load(session: Session) -> tuple[RunContext, Earlier]:
            run = session.get(Run, held.id)
            if run is None:  # somebody has deleted it since it was claimed
                raise LeaseLostError(status=None)
            self._stands_alone = moves.stands_alone(run, share=held.resources.dispatcher.share)
            context = load_context(
                session,
                run,
                held.resources.settings,
                token=held.token,
                write_log=LogWriter(held).write_log,
                judge_exit=self._judge_exit,
                call_structure=StructureCalls(held, execute=partial(execute, held.resources)).call,
            )
            return context, earlier_attempts(session, run)

        context, earlier = held.write(load)
        self._usage.add_given_up(earlier.spent)
        self._repeats = Repeats(earlier.shown)
        return context

    def _judge_exit(self, exited: Exited) -> Outcome:
        judge = partial(judge_exit, run_id=self._held.id, exit_code=exited.exit_code, message=exited.message)
        succeeds, detail = self._held.write(judge)
        if succeeds:
            return Succeeded(None, message=detail["message"], detail=detail)
        return Failed(detail["message"], detail["reason"], detail)

    def _work(self, work: Callable[[], Outcome], interrupter: Interrupter, policy: Policy) -> Result:
        """Do the work; whatever comes of it is a result."""
        outcome: Outcome | BaseException
        try:
            returned: object = interrupter.watch(work)  # by an extension, it may be anything
            if isinstance(returned, Succeeded | Failed):
                outcome = returned
            else:
                kind = type(returned).__name__
                outcome = Failed(f"The executor returned {kind} instead of Succeeded or Failed.")
        except RunStopped as stopped:
            return self._result(None, stopped.how or interrupter.how, policy)
        except InvalidConfigurationError as error:
            outcome = error
        except BaseException as error:
            if is_stop(error):  # a signal's
                raise
            kind = type(error).__name__
            if policy.blame_of(error) is Blame.PLATFORM:
                log.exception("platform failed a run", error_type=kind)
                return self._result(error, StoppedHow.KILLED, policy)  # a dead shim takes its program along
            log.warning("assistant failed", error_type=kind, frames=frames_of(error))
            outcome = error
        return self._result(outcome, interrupter.how, policy)

    def _emit(self, event: ExecutorEvent) -> None:
        self._usage.count(event)
        for passed in self._redactor.passed(event):
            self._write(passed)

    def _emit_rest(self) -> None:
        """Write the events that the redactor and the repeats hold back."""
        try:
            for event in self._redactor.rest():
                self._write(event)
            for event in self._repeats.rest():
                self._writer.emit(event)
        except RunStopped:
            log.info("end of an answer not stored: the run is to stop")

    def _write(self, event: ExecutorEvent) -> None:
        for passed in self._repeats.passed(event):
            self._writer.emit(passed)

    def _result(
        self,
        outcome: Outcome | BaseException | None,
        how: StoppedHow = StoppedHow.COOPERATIVE,
        policy: Policy = DEFAULT_POLICY,
    ) -> Result:
        return Result(
            outcome,
            stop_reason=self._held.token.reason,
            stopped_how=how,
            policy=policy,
            usage=self._usage.total(),
            max_duration=self._max_duration,
            worker=self._held.resources.worker_name,
        )

    def _end(self, error: Exception | None, *, policy: Policy = DEFAULT_POLICY) -> Ending:
        """End the run for an error of the attempt; None if the run could not be started."""
        return self._commit(conclude(self._result(error, policy=policy)))

    def _commit(self, conclusion: Conclusion) -> Ending:
        """Make the move of a conclusion; complete the receipt of a run that was cancelled first."""
        held, trigger = self._held, conclusion.trigger
        if trigger is not None and trigger in MOVES:
            with tracing.span("store end"):
                has_moved = held.move(trigger, **self._redacted(conclusion))
            if has_moved:
                return self._ended(conclusion)
        elif conclusion.ending is Ending.LOST:
            return Ending.LOST

        def record(session: Session) -> bool:
            if trigger is Trigger.CANCEL:
                cancel_revoked(session, held.resources.dispatcher, held.id, attempt=held.attempt)
            usage = self._usage.total()
            return receipts.record_stop(
                session, held.id, conclusion.stopped_how, attempt=held.attempt, usage=usage
            )

        was_cancelled = held.write(record)
        log.info("run stopped", how=conclusion.stopped_how, was_cancelled=was_cancelled)
        return Ending.CANCELLED if was_cancelled else Ending.LOST

    def _ended(self, conclusion: Conclusion) -> Ending:
        self.reason = conclusion.detail["reason"] if conclusion.detail is not None else None
        return conclusion.ending

    def _redacted(self, conclusion: Conclusion) -> dict[str, Any]:
        """What the move of a conclusion takes, without secrets."""
        options: dict[str, Any] = dict(conclusion.values)
        if options.get("output") is not None:
            options["output"] = self._redactor.cleaned(options["output"])
        if (detail := conclusion.detail) is not None:
            more = self._redactor.cleaned(dict(detail))
            options["detail"] = StatusDetail(detail["reason"], redact(detail["message"]), **more)
        return options

    def _abandon(self) -> None:
        """End the run without its code, which does not stop; called in the interrupter's thread."""
        log.error("run abandoned: its code does not stop", reason=self._held.token.reason)
        try:
            self._commit(conclude(self._result(None, self._slot.last_resort)))
        except RunStopped:
            log.warning("run left to the reconciler", reason=self._held.token.reason)
        finally:
            self._held.resources.leases.release(self._held.id, self._held.attempt)
            self._slot.abandon()
