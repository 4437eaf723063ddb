"""The lifecycle of runs: statuses, every legal move, and the types of events. Pure: standard library only."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final


class RunKind(StrEnum):
    """The subject of a run."""

    ASSISTANT = "assistant"
    STRUCTURE = "structure"  # a user's own program


class RunStatus(StrEnum):
    """The status of a run."""

    QUEUED = "QUEUED"  # accepted; no worker has it
    STARTING = "STARTING"  # a worker has it and prepares
    RUNNING = "RUNNING"  # the assistant is being executed
    SUCCEEDED = "SUCCEEDED"  # the assistant answered
    FAILED = "FAILED"  # the assistant itself failed
    ERROR = "ERROR"  # the platform failed it: lost, timed out, misconfigured
    CANCELLED = "CANCELLED"  # a caller or an operator cancelled it


class Trigger(StrEnum):
    """The cause of a move."""

    CLAIM = "claim"  # a worker takes it
    START = "start"  # the worker begins to execute it
    SUCCEED = "succeed"  # the assistant answered
    FAIL = "fail"  # the assistant, its model or a tool failed
    BREAK = "break"  # the platform failed it
    REQUEUE = "requeue"  # its worker was lost or gave it back
    CANCEL = "cancel"  # a caller or an operator cancelled it


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
"""Every legal move; no other can happen."""

TERMINAL: Final = frozenset(RunStatus) - {s for moves in TRANSITIONS.values() for s in moves}
"""The statuses that no run leaves."""

ACTIVE: Final = frozenset(RunStatus) - TERMINAL
"""The statuses of a run that has not ended."""

HELD: Final = frozenset({RunStatus.STARTING, RunStatus.RUNNING})
"""The statuses in which a worker holds the run under a lease, and may write."""


class Reason(StrEnum):
    """Why a run is where it is: `status_detail.reason`, for people and programs."""

    COMPLETED = "Completed"
    ASSISTANT_FAILED = "AssistantFailed"
    STRUCTURE_FAILED = "StructureFailed"  # by its own report, or by its exit code
    OUTPUT_TOO_LARGE = "OutputTooLarge"  # the program's output was not stored
    MODEL_FAILED = "ModelFailed"  # the provider refused, hung, broke off or answered garbage
    MODEL_REFUSED = "ModelRefused"  # the model, or the filter of its provider, refused to answer
    GUARDRAIL_BLOCKED = "GuardrailBlocked"  # a guardrail stopped its input or its answer
    INVALID_CONFIGURATION = "InvalidConfiguration"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    EXPIRED = "Expired"
    WAITING_FOR_THREAD = "WaitingForThread"
    WORKER_LOST = "WorkerLost"
    WORKER_DRAINED = "WorkerDrained"
    TOO_MANY_ATTEMPTS = "TooManyAttempts"
    INTERNAL_ERROR = "InternalError"


class StatusDetail(dict[str, Any]):
    """Why a run has its status: the JSON object that `status_detail` stores.

    Args:
        reason: for programs.
        message: for people.
        more: further facts; `reason` and `message` keep their meaning whatever stands here.
    """

    def __init__(self, reason: Reason, message: str, /, **more: Any) -> None:
        super().__init__({**more, "reason": reason, "message": message})


class StoppedHow(StrEnum):
    """How the work of a cancelled run came to its end: `status_detail.stopped_how`."""

    NEVER_STARTED = "never_started"  # no worker had it
    COOPERATIVE = "cooperative"  # it saw the request, or its connections were shut
    INTERRUPTED = "interrupted"  # an exception was raised in its thread
    KILLED = "killed"  # its process was killed
    ABANDONED = "abandoned"  # it did not stop; it is fenced off, and its process is recycled
    WORKER_LOST = "worker_lost"  # its worker was gone
    EXTERNAL = "external"  # its caller executes it: later reports are refused


def timed_out_message(limit: timedelta) -> str:
    """The message of a run that was RUNNING for longer than `limit`."""
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


class Origin(StrEnum):
    """Who wrote an event."""

    ASSISTANT = "ASSISTANT"  # the executor of the run
    SYSTEM = "SYSTEM"  # the platform, about the run's life
    USER = "USER"  # a caller's own code


class EventType(StrEnum):
    """A type of run events; executors and programs may write events of further types."""

    ASSISTANT_QUEUED = "AssistantRunQueued"
    ASSISTANT_STARTING = "AssistantRunStarting"
    ASSISTANT_RUNNING = "AssistantRunRunning"  # an attempt begins to execute the run
    ASSISTANT_ERROR = "AssistantRunError"
    ASSISTANT_COMPLETED = "AssistantRunCompleted"  # the last of an assistant run
    STRUCTURE_QUEUED = "StructureRunQueued"
    STRUCTURE_STARTING = "StructureRunStarting"  # an attempt begins
    STRUCTURE_RUNNING = "StructureRunRunning"
    STRUCTURE_ERROR = "StructureRunError"
    STRUCTURE_COMPLETED = "StructureRunCompleted"  # the last of a structure run
    REPORT_REFUSED = "StructureRunReportRefused"  # a report of the run's code was not stored

    # The framework's, in an assistant run or reported by a structure's code:
    START = "StartStructureRunEvent"  # an agent, a pipeline or a workflow begins
    FINISH = "FinishStructureRunEvent"  # it has ended; carries its answer
    TEXT_CHUNK = "TextChunkEvent"  # some text of an answer
    FINISH_PROMPT = "FinishPromptEvent"  # the usage of a model call


LAST_TYPES: Final = (EventType.ASSISTANT_COMPLETED, EventType.STRUCTURE_COMPLETED)
"""The types of a run's last event, by the platform, of either kind of run."""

REPEATED_TEXT: Final = "RepeatedTextChunkEvent"
"""What the payload of a text chunk calls itself if an earlier attempt has shown the same text there.

Clients that build the framework's events from payloads know no such type and leave it out, so that the
text they have shown already is not shown twice.
"""


def is_last(event_type: str, origin: str) -> bool:
    """Whether a run's log ends with an event of this type and origin."""
    return event_type in LAST_TYPES and origin == Origin.SYSTEM
