"""What becomes of a run when its attempt ends: one pure function of how its work ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from shared.lifecycle import Reason, StatusDetail, StoppedHow, Trigger, timed_out_message
from shared.models import JsonObject
from worker.cancellation import StopReason
from worker.executors.base import Failed, InvalidConfigurationError, Outcome, PlatformError, Succeeded
from worker.executors.policy import DEFAULT_POLICY, Blame, Policy

UNEXPECTED: Final = "Something went wrong in the worker; it was logged."


class Ending(StrEnum):
    """How an attempt ended, as its worker sees it."""

    NOT_CLAIMED = "not_claimed"  # a stale or second message; nothing was done
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    BROKEN = "broken"  # ended in ERROR
    CANCELLED = "cancelled"
    REQUEUED = "requeued"  # its worker drains
    LOST = "lost"  # the run is no longer this attempt's
    ABANDONED = "abandoned"  # its code did not stop


@dataclass(frozen=True, slots=True)
class Result:
    """How the work of an attempt ended."""

    outcome: Outcome | BaseException | None  # returned or raised; None if RunStopped was raised
    stop_reason: StopReason | None = None  # of the token when the work ended; None if it had not fired
    stopped_how: StoppedHow = StoppedHow.COOPERATIVE
    policy: Policy = DEFAULT_POLICY
    usage: JsonObject | None = None
    max_duration: timedelta = timedelta(0)
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The move that ends an attempt."""

    trigger: Trigger | None  # None: no move
    ending: Ending  # once the move is made
    detail: StatusDetail | None = None
    values: Mapping[str, Any] = field(default_factory=dict)  # what else the move takes
    stopped_how: StoppedHow = StoppedHow.COOPERATIVE  # for the receipt of a run that was cancelled first


def conclude(result: Result) -> Conclusion:
    """Return what becomes of a run.

    A token that fired outweighs whatever the executor returned or raised after it. CANCELLED as an ending
    without a move: complete the receipt of the run, if somebody has cancelled it.
    """
    if result.stop_reason is not None or result.outcome is None:
        return _stop(result)
    match result.outcome:
        case Succeeded() as done:
            detail = StatusDetail(Reason.COMPLETED, done.message, **done.detail)
            values = {"output": done.output, "prompt": done.prompt, "usage": result.usage}
            return Conclusion(Trigger.SUCCEED, Ending.SUCCEEDED, detail, values)
        case Failed() as failure:
            return _fail(result, StatusDetail(failure.reason, failure.message, **failure.detail))
        case InvalidConfigurationError() as error:
            return _break(result, Reason.INVALID_CONFIGURATION, str(error))
        case error if result.policy.blame_of(error) is Blame.ASSISTANT:
            message = f"{type(error).__name__}: {error}"
            return _fail(result, StatusDetail(Reason.ASSISTANT_FAILED, message))
        case error:
            message = str(error) if isinstance(error, PlatformError) else UNEXPECTED
            return _break(result, Reason.INTERNAL_ERROR, message)


def _stop(result: Result) -> Conclusion:
    how = result.stopped_how
    match result.stop_reason:
        case StopReason.TIMED_OUT:
            return _break(result, Reason.TIMED_OUT, timed_out_message(result.max_duration))
        case StopReason.DATABASE_LOST:
            return _break(result, Reason.INTERNAL_ERROR, "What the run did could not be recorded.")
        case StopReason.DRAINED:
            message = "Its worker was stopped; it starts anew."
            detail = StatusDetail(Reason.WORKER_DRAINED, message, worker=result.worker)
            return Conclusion(Trigger.REQUEUE, Ending.REQUEUED, detail, stopped_how=how)
        case StopReason.CANCELLED:  # by a revoke, unless somebody has cancelled it by the API
            return Conclusion(Trigger.CANCEL, Ending.CANCELLED, stopped_how=how)
        case StopReason.LEASE_LOST:
            return Conclusion(None, Ending.LOST)
        case None:
            return Conclusion(None, Ending.CANCELLED, stopped_how=how)


def _fail(result: Result, detail: StatusDetail) -> Conclusion:
    return Conclusion(Trigger.FAIL, Ending.FAILED, detail, {"usage": result.usage})


def _break(result: Result, reason: Reason, message: str) -> Conclusion:
    values = {"usage": result.usage}
    detail = StatusDetail(reason, message)
    return Conclusion(Trigger.BREAK, Ending.BROKEN, detail, values, result.stopped_how)
