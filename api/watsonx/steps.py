"""What an assistant did on its way to an answer: calls of tools, and their results."""

import uuid
from collections.abc import Collection, Mapping
from typing import Final

import orjson
from sqlalchemy.orm import Session

from api.watsonx.thread_message_schemas import ASSISTANT
from shared.events import log
from shared.events.log import StoredEvent
from shared.lifecycle import EventType
from shared.models import JsonObject
from shared.runs import queries

CALL: Final = "StartActionsSubtaskEvent"
RESPONSE: Final = "FinishActionsSubtaskEvent"


def step_of(event: StoredEvent) -> JsonObject:
    """The step that one of the two events is."""
    listed = event.payload.get("subtask_actions")
    actions = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    if event.type == CALL:
        calls = [
            {"id": action.get("tag"), "name": action.get("name"), "args": action.get("input") or {}}
            for action in actions
        ]
        return {"role": ASSISTANT, "step_details": [{"type": "tool_calls", "tool_calls": calls}]}
    output = _value(event.payload.get("task_output"))
    values = [_value(one) for one in output] if isinstance(output, list) else []
    if len(values) != len(actions):  # an error that is told of all calls at once is that of each
        values = [output] * len(actions)
    responses = [
        {
            "type": "tool_response",
            "name": action.get("name"),
            "content": value if isinstance(value, str) else orjson.dumps(value).decode(),
            "tool_call_id": action.get("tag"),
        }
        for action, value in zip(actions, values, strict=True)
    ]
    return {"role": ASSISTANT, "step_details": responses}


def steps_of(
    session: Session, run_ids: Collection[uuid.UUID], *, organization_id: uuid.UUID
) -> Mapping[uuid.UUID, list[JsonObject]]:
    """Return the steps of the last attempt of each of an organization's runs that has any.

    Only runs that have tools are looked up in the log.
    """
    with_tools = queries.with_tools(session, run_ids, organization_id=organization_id)
    steps: dict[uuid.UUID, list[JsonObject]] = {}
    for event in log.of_types(session, with_tools, (EventType.ASSISTANT_RUNNING, CALL, RESPONSE)):
        if event.type == EventType.ASSISTANT_RUNNING:
            steps.pop(event.run_id, None)
        else:
            steps.setdefault(event.run_id, []).append(step_of(event))
    return steps


def _value(artifact: object) -> object:
    return artifact.get("value") if isinstance(artifact, dict) else None
