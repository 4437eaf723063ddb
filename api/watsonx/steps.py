"""What an assistant did on its way to an answer: calls of tools, and their results (contract: watsonx §4)."""

import uuid
from collections.abc import Collection, Mapping
from typing import Final

import orjson
from sqlalchemy.orm import Session

from api.watsonx.messages import ASSISTANT
from shared.events import log
from shared.events.log import StoredEvent
from shared.models import RUN_RUNNING, JsonObject
from shared.runs import queries

CALL: Final = "StartActionsSubtaskEvent"
RESPONSE: Final = "FinishActionsSubtaskEvent"


def step_of(event: StoredEvent) -> JsonObject:
    """The step that one of the two events is."""
    details = _calls(event.payload) if event.type == CALL else _responses(event.payload)
    return {"role": ASSISTANT, "step_details": details}


def steps_of(
    session: Session, run_ids: Collection[uuid.UUID], *, organization_id: uuid.UUID
) -> Mapping[uuid.UUID, list[JsonObject]]:
    """Return the steps of the last attempt of each of an organization's runs that has any.

    Only runs that have tools are looked up in the log.
    """
    with_tools = queries.with_tools(session, run_ids, organization_id=organization_id)
    steps: dict[uuid.UUID, list[JsonObject]] = {}
    for event in log.of_types(session, with_tools, (RUN_RUNNING, CALL, RESPONSE)):
        if event.type == RUN_RUNNING:
            steps.pop(event.run_id, None)
        else:
            steps.setdefault(event.run_id, []).append(step_of(event))
    return steps


def _actions(payload: JsonObject) -> list[JsonObject]:
    actions = payload.get("subtask_actions")
    return [one for one in actions if isinstance(one, dict)] if isinstance(actions, list) else []


def _calls(payload: JsonObject) -> list[JsonObject]:
    calls = [
        {"id": action.get("tag"), "name": action.get("name"), "args": action.get("input") or {}}
        for action in _actions(payload)
    ]
    return [{"type": "tool_calls", "tool_calls": calls}]


def _responses(payload: JsonObject) -> list[JsonObject]:
    actions = _actions(payload)
    return [
        {
            "type": "tool_response",
            "name": action.get("name"),
            "content": content,
            "tool_call_id": action.get("tag"),
        }
        for action, content in zip(actions, _contents(payload, len(actions)), strict=True)
    ]


def _contents(payload: JsonObject, count: int) -> list[str]:
    """What each of so many calls has given, as text; an error that is told of all at once is that of each."""
    output = _value(payload.get("task_output"))
    values = [_value(one) for one in output] if isinstance(output, list) else []
    if len(values) != count:
        values = [output] * count
    return [value if isinstance(value, str) else orjson.dumps(value).decode() for value in values]


def _value(artifact: object) -> object:
    return artifact.get("value") if isinstance(artifact, dict) else None
