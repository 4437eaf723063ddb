"""Guardrails of the watsonx Orchestrate dialect on the whole stack: what is guarded shows nowhere."""

import json
import uuid

import pytest

pytestmark = pytest.mark.timeout(300)


WENT_IN = {
    "StartStructureRunEvent": ["input_task_input"],
    "StartTaskEvent": ["task_input"],
    "FinishTaskEvent": ["task_input"],
}
"""What repeats the input, which nobody asked to be looked at."""


@pytest.fixture
def ask(stack):
    """Run the model that repeats, guarded; return its lines as sent, its row and its thread's messages."""

    def ask(content, *, mask, **sides):
        pii = {side: {"enabled": True} for side in sides if sides[side]}
        body = {
            "agent_id": stack.create_assistant(model="openai/repeat"),
            "message": {"role": "user", "content": content},
            "guardrails": {"pii": {**pii, "mask": {"remove_entity_value": mask}}},
        }
        with stack.client.stream("POST", "/v1/orchestrate/runs?stream=true", json=body) as answer:
            assert answer.status_code == 200
            lines = [json.loads(line) for line in answer.iter_lines()]
        run_id = lines[0]["data"]["run_id"]
        run = stack.client.get(f"/v1/orchestrate/runs/{run_id}").json()
        messages = stack.client.get(f"/v1/threads/{run['thread_id']}/messages").json()
        events = stack.client.get(f"/api/assistant-runs/{run_id}/events", params={"limit": 1000}).json()
        return lines, run, messages, events

    return ask


@pytest.fixture
def address():
    return f"{uuid.uuid4().hex}@example.com"


def test_what_is_masked_on_its_way_in_reaches_no_model_no_event_and_no_thread(ask, llm, address):
    seen = len(llm.records.requests)
    lines, run, messages, events = ask(f"Write to {address} today.", mask=True, input=True)
    assert run["status"] == "completed"
    assert run["status_detail"]["masked"] == {"input": {"pii": ["EMAIL_ADDRESS"]}}
    for told in (lines, run, messages, events, llm.records.requests[seen:]):
        assert address not in json.dumps(told)
    assert [one["content"][0]["text"].strip() for one in messages] == ["Write to [EMAIL_ADDRESS] today."] * 2


def test_what_is_masked_on_its_way_out_was_never_shown(ask, address):
    lines, run, messages, events = ask(f"Write to {address} today.", mask=True, output=True)
    assert run["status"] == "completed"
    (delta,) = [line["data"]["delta"]["content"] for line in lines if line["event"] == "message.delta"]
    assert delta[0]["text"].strip() == "Write to [EMAIL_ADDRESS] today."
    assert address not in json.dumps([lines, messages[1], run["result"]])
    for event in events["events"]:
        told = dict(event["payload"])
        for went_in in WENT_IN.get(event["type"], ()):
            told.pop(went_in)
        assert address not in json.dumps(told), event["type"]


@pytest.mark.parametrize("side", ["input", "output"])
def test_what_may_not_pass_fails_the_run_and_names_the_kind_alone(ask, llm, address, side):
    seen = len(llm.records.requests)
    lines, run, messages, events = ask(f"Write to {address} today.", mask=False, **{side: True})
    assert (run["status"], run["result"]) == ("failed", None)
    assert run["last_error"] == f"The guardrail 'pii' found EMAIL_ADDRESS in the {side}."
    assert run["status_detail"]["reason"] == "GuardrailBlocked"
    assert [line["event"] for line in lines[-2:]] == ["run.failed", "done"]
    assert address not in json.dumps([lines, run])
    assert messages == []
    assert (len(llm.records.requests) == seen) == (side == "input")
    assert not [event for event in events["events"] if event["type"] == "TextChunkEvent"]
