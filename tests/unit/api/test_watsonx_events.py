"""Tool calls and their responses in watsonx Orchestrate's vocabulary."""

import uuid
from datetime import UTC, datetime

import pytest

from api.watsonx.events import Translator
from shared.events.log import StoredEvent
from shared.models import Origin, Run

ACTIONS = [{"tag": "call_1", "name": "Sample", "input": {"a": 1}}, {"tag": "call_2", "name": "Sample"}]


@pytest.fixture
def details():
    """Translate an event of the framework about two calls of a tool; return the details of its step."""

    def details(kind, output):
        run = Run(id=uuid.uuid4(), thread_id=uuid.uuid4(), assistant_id=uuid.uuid4())
        payload = {"subtask_actions": ACTIONS, "task_output": output}
        now = datetime.now(UTC)
        stored = StoredEvent(run.id, 3, uuid.uuid4(), Origin.ASSISTANT, kind, payload, now.timestamp(), now)
        (event,) = Translator(run).events(stored)
        assert event["event"] == "run.step.delta"
        assert event["data"]["thread_id"] == run.thread_id
        return event["data"]["delta"]["step_details"]

    return details


def artifact(value, kind="TextArtifact"):
    return {"type": kind, "value": value}


def test_the_calls_of_a_step_are_one_detail(details):
    assert details("StartActionsSubtaskEvent", None) == [
        {
            "type": "tool_calls",
            "tool_calls": [
                {"id": "call_1", "name": "Sample", "args": {"a": 1}},
                {"id": "call_2", "name": "Sample", "args": {}},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("output", "contents"),
    [
        (artifact([artifact("one"), artifact({"b": 2}, "JsonArtifact")], "ListArtifact"), ["one", '{"b":2}']),
        (artifact("It broke.", "ErrorArtifact"), ["It broke.", "It broke."]),
        (artifact([artifact("whose?")], "ListArtifact"), ['[{"type":"TextArtifact","value":"whose?"}]'] * 2),
        (None, ["null", "null"]),
    ],
    ids=["each its own", "an error of all", "too few", "nothing"],
)
def test_each_response_is_what_its_own_call_has_given(details, output, contents):
    responses = details("FinishActionsSubtaskEvent", output)
    assert [(one["type"], one["tool_call_id"]) for one in responses] == [
        ("tool_response", "call_1"),
        ("tool_response", "call_2"),
    ]
    assert [one["content"] for one in responses] == contents
