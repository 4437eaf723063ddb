"""What the log says of each transition: which events, in which order, with what in them."""

import uuid
from collections.abc import Callable, Mapping
from typing import Final

from shared.artifacts import error_artifact
from shared.events.log import NewEvent
from shared.instants import rfc3339, rfc3339_or_none
from shared.models import FINISH, JsonObject, Origin, Run
from shared.runs.lifecycle import RunKind, Trigger

Narrator = Callable[[Run], NewEvent]


_PREFIXES: Final = {RunKind.ASSISTANT: "AssistantRun", RunKind.STRUCTURE: "StructureRun"}


def _system(run: Run, what: str, payload: JsonObject) -> NewEvent:
    return NewEvent(Origin.SYSTEM, _PREFIXES[run.kind] + what, payload)


def queued(run: Run) -> NewEvent:
    """It waits for its first attempt, or for another: then what the last one has said does not count."""
    payload: JsonObject = {"status": run.status, "attempt": run.attempt}
    if run.attempt:
        payload["reset"] = True
    if run.status_detail is not None:
        payload["status_detail"] = run.status_detail
    return _system(run, "Queued", payload)


def _starting(run: Run) -> NewEvent:
    return _system(run, "Starting", {"status": run.status, "attempt": run.attempt})


def _running(run: Run) -> NewEvent:
    return _system(
        run,
        "Running",
        {
            "status": run.status,
            "attempt": run.attempt,
            "started_at": rfc3339_or_none(run.started_at),
        },
    )


def _finish(run: Run) -> NewEvent:
    """The answer, or an artifact that says why there is none (contract: griptape §7.5)."""
    artifact = run.output or error_artifact(_message(run))
    identifier = uuid.uuid4().hex
    event = NewEvent(Origin.ASSISTANT, FINISH, {})
    event.payload.update(
        {
            "type": FINISH,
            "id": identifier,
            "timestamp": event.timestamp,
            "meta": {},
            "structure_id": run.id.hex,
            "output_task_input": None,
            "output_task_output": artifact,
        }
    )
    return event


def _error(run: Run) -> NewEvent:
    return _system(
        run,
        "Error",
        {
            "status": run.status,
            "status_detail": {**(run.status_detail or {}), "error": _message(run)},
        },
    )


def _completed(run: Run) -> NewEvent:
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


def _message(run: Run) -> str:
    return str((run.status_detail or {}).get("message", run.status))


_ASSISTANT: Final[Mapping[Trigger, tuple[Narrator, ...]]] = {
    Trigger.CLAIM: (_starting,),
    Trigger.START: (_running,),
    Trigger.SUCCEED: (_finish, _completed),
    Trigger.FAIL: (_finish, _completed),
    Trigger.BREAK: (_finish, _error, _completed),
    Trigger.REQUEUE: (queued,),
    Trigger.CANCEL: (_finish, _completed),
}

_STRUCTURE: Final[Mapping[Trigger, tuple[Narrator, ...]]] = {
    Trigger.CLAIM: (_starting,),
    Trigger.START: (_running,),
    Trigger.SUCCEED: (_completed,),
    # Its own code may have said nothing: clients make an error of this one (contract: griptape §8.2).
    Trigger.FAIL: (_error, _completed),
    Trigger.BREAK: (_error, _completed),
    Trigger.REQUEUE: (queued,),
    Trigger.CANCEL: (_error, _completed),
}

NARRATION: Final = {RunKind.ASSISTANT: _ASSISTANT, RunKind.STRUCTURE: _STRUCTURE}
"""The events of every transition, by the kind of run; `…Completed` is the last of every ending."""
