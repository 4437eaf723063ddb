"""The events of each transition, their order and their payloads."""

import uuid
from collections.abc import Callable, Mapping
from typing import Final

from shared.artifacts import error_artifact
from shared.events.log import NewEvent
from shared.instants import rfc3339, rfc3339_or_none
from shared.lifecycle import EventType, RunKind, Trigger
from shared.models import JsonObject, Origin, Run
from shared.runs.together import MovedRun

MakeEvent = Callable[[Run | MovedRun], NewEvent]


_PREFIXES: Final = {RunKind.ASSISTANT: "AssistantRun", RunKind.STRUCTURE: "StructureRun"}


def _system(run: Run | MovedRun, what: str, payload: JsonObject) -> NewEvent:
    return NewEvent(Origin.SYSTEM, EventType(_PREFIXES[run.kind] + what), payload)


def queued(run: Run | MovedRun) -> NewEvent:
    """The run waits for its first attempt, or for another; `reset` voids the text of the attempts before."""
    payload: JsonObject = {"status": run.status, "attempt": run.attempt}
    if run.attempt:
        payload["reset"] = True
    if run.status_detail is not None:
        payload["status_detail"] = run.status_detail
    return _system(run, "Queued", payload)


def _starting(run: Run | MovedRun) -> NewEvent:
    return _system(run, "Starting", {"status": run.status, "attempt": run.attempt})


def _running(run: Run | MovedRun) -> NewEvent:
    return _system(
        run,
        "Running",
        {
            "status": run.status,
            "attempt": run.attempt,
            "started_at": rfc3339_or_none(run.started_at),
        },
    )


def _finish(run: Run | MovedRun) -> NewEvent:
    """The answer, or an artifact that says why there is none."""
    artifact = run.output or error_artifact(_message(run))
    identifier = uuid.uuid4().hex
    event = NewEvent(Origin.ASSISTANT, EventType.FINISH, {})
    event.payload.update(
        {
            "type": EventType.FINISH,
            "id": identifier,
            "timestamp": event.timestamp,
            "meta": {},
            "structure_id": run.id.hex,
            "output_task_input": None,
            "output_task_output": artifact,
        }
    )
    return event


def _error(run: Run | MovedRun) -> NewEvent:
    return _system(
        run,
        "Error",
        {
            "status": run.status,
            "status_detail": {**(run.status_detail or {}), "error": _message(run)},
        },
    )


def _completed(run: Run | MovedRun) -> NewEvent:
    return _system(
        run,
        "Completed",
        {
            "status": run.status,
            "started_at": rfc3339_or_none(run.started_at),
            "completed_at": rfc3339(run.completed_at) if run.completed_at else None,
            "status_detail": run.status_detail or {},
        },
    )


def _message(run: Run | MovedRun) -> str:
    return str((run.status_detail or {}).get("message", run.status))


_ASSISTANT: Final[Mapping[Trigger, tuple[MakeEvent, ...]]] = {
    Trigger.CLAIM: (_starting,),
    Trigger.START: (_running,),
    Trigger.SUCCEED: (_finish, _completed),
    Trigger.FAIL: (_finish, _completed),
    Trigger.BREAK: (_finish, _error, _completed),
    Trigger.REQUEUE: (queued,),
    Trigger.CANCEL: (_finish, _completed),
}

_STRUCTURE: Final[Mapping[Trigger, tuple[MakeEvent, ...]]] = {
    Trigger.CLAIM: (_starting,),
    Trigger.START: (_running,),
    Trigger.SUCCEED: (_completed,),
    # Its own code may have reported no error: clients raise from this event.
    Trigger.FAIL: (_error, _completed),
    Trigger.BREAK: (_error, _completed),
    Trigger.REQUEUE: (queued,),
    Trigger.CANCEL: (_error, _completed),
}

EVENTS_OF: Final = {RunKind.ASSISTANT: _ASSISTANT, RunKind.STRUCTURE: _STRUCTURE}
"""The events of every transition, by the kind of run; `…Completed` is the last of every ending."""


def events_of(run: Run | MovedRun, trigger: Trigger) -> list[NewEvent]:
    """The events of a transition, in order, of a run as the transition has left it."""
    return [make_event(run) for make_event in EVENTS_OF[run.kind][trigger]]
