"""A run's statuses, what can happen to it, and every legal move. Pure: standard library only."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final


class RunKind(StrEnum):
    """What is run."""

    ASSISTANT = "assistant"
    STRUCTURE = "structure"  # a user's own program


class RunStatus(StrEnum):
    """Where a run is in its life, spelled as callers see it."""

    QUEUED = "QUEUED"  # accepted; no worker has it
    STARTING = "STARTING"  # a worker has it and prepares
    RUNNING = "RUNNING"  # the assistant is being executed
    SUCCEEDED = "SUCCEEDED"  # the assistant answered
    FAILED = "FAILED"  # the assistant itself failed
    ERROR = "ERROR"  # the platform failed it: lost, timed out, misconfigured
    CANCELLED = "CANCELLED"  # somebody asked for its end


class Trigger(StrEnum):
    """What happens to a run."""

    CLAIM = "claim"  # a worker takes it
    START = "start"  # the worker begins to execute it
    SUCCEED = "succeed"  # the assistant answered
    FAIL = "fail"  # the assistant, its model or a tool failed
    BREAK = "break"  # the platform failed it
    REQUEUE = "requeue"  # its worker was lost or gave it back
    CANCEL = "cancel"  # somebody asked for its end


_S = RunStatus

TRANSITIONS: Final[Mapping[Trigger, Mapping[RunStatus, RunStatus]]] = {
    Trigger.CLAIM: {_S.QUEUED: _S.STARTING},
    Trigger.START: {_S.STARTING: _S.RUNNING},
    Trigger.SUCCEED: {_S.RUNNING: _S.SUCCEEDED},
    Trigger.FAIL: {_S.RUNNING: _S.FAILED},
    Trigger.BREAK: {_S.QUEUED: _S.ERROR, _S.STARTING: _S.ERROR, _S.RUNNING: _S.ERROR},
    Trigger.REQUEUE: {_S.STARTING: _S.QUEUED, _S.RUNNING: _S.QUEUED},
    Trigger.CANCEL: {
        _S.QUEUED: _S.CANCELLED,
        _S.STARTING: _S.CANCELLED,
        _S.RUNNING: _S.CANCELLED,
    },
}
"""Every legal move; what is not here cannot happen."""

TERMINAL: Final = frozenset(RunStatus) - {s for moves in TRANSITIONS.values() for s in moves}
"""The statuses that nothing ever leaves."""

ACTIVE: Final = frozenset(RunStatus) - TERMINAL
"""The statuses of a run that has not ended."""

HELD: Final = frozenset({RunStatus.STARTING, RunStatus.RUNNING})
"""The statuses in which a worker holds the run under a lease, and may write."""


class Reason(StrEnum):
    """Why a run is where it is: `status_detail.reason`, for people and programs."""

    COMPLETED = "Completed"
    ASSISTANT_FAILED = "AssistantFailed"
    STRUCTURE_FAILED = "StructureFailed"  # the program said so, or its exit code
    OUTPUT_TOO_LARGE = "OutputTooLarge"  # what the program gave back is more than is kept
    MODEL_FAILED = "ModelFailed"  # the provider refused, hung, broke off or answered garbage
    MODEL_REFUSED = "ModelRefused"  # the model would not answer, or what filters it did not let it
    GUARDRAIL_BLOCKED = "GuardrailBlocked"  # something in its input or answer may not pass
    INVALID_CONFIGURATION = "InvalidConfiguration"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    EXPIRED = "Expired"
    WAITING_FOR_THREAD = "WaitingForThread"
    WORKER_LOST = "WorkerLost"
    WORKER_DRAINED = "WorkerDrained"
    TOO_MANY_ATTEMPTS = "TooManyAttempts"
    INTERNAL_ERROR = "InternalError"


class StoppedHow(StrEnum):
    """How the work of a cancelled run came to its end: `status_detail.stopped_how`."""

    NEVER_STARTED = "never_started"  # no worker had it
    COOPERATIVE = "cooperative"  # it saw the request, or its connections were shut
    INTERRUPTED = "interrupted"  # an exception was raised in its thread
    KILLED = "killed"  # its process was killed
    ABANDONED = "abandoned"  # it would not stop; fenced off, and its process is recycled
    WORKER_LOST = "worker_lost"  # its worker was gone
    EXTERNAL = "external"  # it runs elsewhere: whatever it sends from now on is refused


def timed_out_message(limit: timedelta) -> str:
    """What a caller reads of a run that was RUNNING for longer than `limit`."""
    return f"The run took longer than it may: {limit.total_seconds():g} s."


def mermaid() -> str:
    """The state diagram of `TRANSITIONS`, as Mermaid source."""
    lines = ["stateDiagram-v2", "    [*] --> QUEUED: submit"]
    lines += [
        f"    {source} --> {target}: {trigger}"
        for trigger, moves in TRANSITIONS.items()
        for source, target in moves.items()
    ]
    lines += [f"    {status} --> [*]" for status in RunStatus if status in TERMINAL]
    return "\n".join(lines)
