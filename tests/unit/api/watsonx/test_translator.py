"""A run's events in watsonx Orchestrate's vocabulary."""

import uuid
from datetime import UTC, datetime

import orjson
import pytest

from api.watsonx.translator import Translator
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


@pytest.fixture
def translated():
    """Translate the log of a run, given as (origin, type, payload); return what is said, as (name, data)."""

    def translated(log, **fields):
        run = Run(
            id=uuid.uuid4(),
            thread_id=uuid.uuid4(),
            assistant_id=uuid.uuid4(),
            organization_id=uuid.uuid4(),
            created_by=uuid.uuid4(),
            **fields,
        )
        translator, now = Translator(run), datetime.now(UTC)
        said = [
            event
            for seq, (origin, kind, payload) in enumerate(log)
            for event in translator.events(
                StoredEvent(run.id, seq, uuid.uuid4(), origin, kind, payload, now.timestamp(), now)
            )
        ]
        assert all(event["data"]["thread_id"] == run.thread_id for event in said)
        return [(event["event"], event["data"]) for event in said]

    return translated


def queued(**more):
    return (Origin.SYSTEM, "AssistantRunQueued", {"status": "QUEUED", "name": "Parrot", **more})


RUNNING = (Origin.SYSTEM, "AssistantRunRunning", {"status": "RUNNING"})
ASKED = (Origin.ASSISTANT, "StartPromptEvent", {"model": "words-2"})
SAID = [(Origin.ASSISTANT, "TextChunkEvent", {"token": f"word{n} "}) for n in range(2)]
COUNTED = (
    Origin.ASSISTANT,
    "FinishPromptEvent",
    {"model": "words-2", "input_token_count": 11, "output_token_count": 7.0},
)
CALLED = (Origin.ASSISTANT, "StartActionsSubtaskEvent", {"subtask_actions": ACTIONS[:1], "task_output": None})
ANSWERED = (
    Origin.ASSISTANT,
    "FinishActionsSubtaskEvent",
    {"subtask_actions": ACTIONS[:1], "task_output": artifact("5")},
)
FINISHED = [
    (Origin.ASSISTANT, "FinishStructureRunEvent", {"output_task_output": artifact("word0 word1 ")}),
    (
        Origin.SYSTEM,
        "AssistantRunCompleted",
        {"status": "SUCCEEDED", "completed_at": "2026-01-02T03:04:05.000006Z", "status_detail": {}},
    ),
]


def test_a_plain_reply_is_told_in_the_order_that_was_observed(translated):
    said = translated([queued(), RUNNING, ASKED, *SAID, COUNTED, *FINISHED], model="openai/words-2")
    assert [name for name, _ in said] == [
        "run.started",
        "message.started",
        "run.step.intermediate",
        "message.delta",
        "message.delta",
        "message.created",
        "message.completed",
        "run.completed",
        "done",
    ]
    told = dict(said)
    assert told["run.step.intermediate"]["agent_display_name"] == "Parrot"
    assert told["run.step.intermediate"]["message"] == {"key": "model_call", "text": "Asking words-2"}
    message = told["message.created"]["message"]
    assert (message["role"], message["created_on"]) == ("assistant", "2026-01-02T03:04:05.000006Z")
    assert message["content"] == [{"response_type": "text", "text": "word0 word1 ", "id": "1"}]
    tokens = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert told["message.completed"]["usage"] == {
        "token_usage": tokens,
        "model_usage": [{"model_name": "words-2", "provider": "openai", "token_usage": tokens}],
    }


def test_the_steps_of_an_answer_are_its_history(translated):
    log = [queued(), RUNNING, ASKED, CALLED, ANSWERED, ASKED, *SAID, *FINISHED]
    said = translated(log, structure_ids=[uuid.uuid4()])
    steps = [data["delta"] for name, data in said if name == "run.step.delta"]
    assert [step["step_details"][0]["type"] for step in steps] == ["tool_calls", "tool_response"]
    assert dict(said)["message.created"]["message"]["step_history"] == steps


def test_what_a_lost_attempt_did_counts_for_nothing(translated):
    lost = [queued(), RUNNING, ASKED, CALLED, COUNTED]
    log = [
        *lost,
        (Origin.SYSTEM, "AssistantRunQueued", {"status": "QUEUED"}),
        RUNNING,
        ASKED,
        COUNTED,
        *FINISHED,
    ]
    told = dict(translated(log, structure_ids=[uuid.uuid4()]))
    assert told["message.created"]["message"]["step_history"] == []
    usage = told["message.completed"]["usage"]
    assert usage["token_usage"]["total_tokens"] == usage["given_up"]["token_usage"]["total_tokens"] == 18
    assert told["run.step.intermediate"]["agent_display_name"] == "Parrot"


@pytest.mark.parametrize(
    ("status", "reason", "name"),
    [
        ("FAILED", "ModelFailed", "run.failed"),
        ("ERROR", "WorkerLost", "run.failed"),
        ("ERROR", "TimedOut", "run.expired"),
        ("ERROR", "Expired", "run.expired"),
        ("CANCELLED", "Cancelled", "run.cancelled"),
    ],
)
def test_every_other_end_is_told_with_its_message(translated, status, reason, name):
    detail = {"reason": reason, "message": "That is why."}
    end = (Origin.SYSTEM, "AssistantRunCompleted", {"status": status, "status_detail": detail})
    (said, data), (last, _) = translated([queued(), end])
    assert (said, data["error"], last) == (name, "That is why.", "done")


def test_the_thread_is_the_one_that_there_was(details):
    run = Run(id=uuid.uuid4(), thread_id=None, assistant_id=uuid.uuid4(), organization_id=uuid.uuid4())
    run.created_by = uuid.uuid4()
    translator, now, thread_id = Translator(run), datetime.now(UTC), str(uuid.uuid4())
    told = [
        event["data"]
        for seq, (origin, kind, payload) in enumerate([queued(thread_id=thread_id), RUNNING, *FINISHED])
        for event in translator.events(
            StoredEvent(run.id, seq, uuid.uuid4(), origin, kind, payload, now.timestamp(), now)
        )
    ]
    assert {data["thread_id"] for data in told} == {thread_id}
    assert {data["message"]["thread_id"] for data in told if "message" in data} == {thread_id}


def test_events_that_this_dialect_has_no_word_for_are_left_out(translated):
    assert translated([queued(), (Origin.ASSISTANT, "Mine", {}), (Origin.USER, "TextChunkEvent", {})]) == []


@pytest.mark.parametrize("actions", [None, 5, "x", [5], {}])
def test_what_an_executor_of_somebody_elses_calls_an_action_breaks_nothing(details, actions, monkeypatch):
    monkeypatch.setitem(globals(), "ACTIONS", actions)
    assert details("StartActionsSubtaskEvent", None) == [{"type": "tool_calls", "tool_calls": []}]
    assert details("FinishActionsSubtaskEvent", None) == []


@pytest.mark.parametrize(
    "count", [None, "7", "seven", [7], {}, True, -7, 1e30, 10**30, float("inf"), float("nan")]
)
def test_what_an_executor_of_somebody_elses_calls_a_number_of_tokens_breaks_nothing(translated, count):
    odd = (Origin.ASSISTANT, "FinishPromptEvent", {"model": ["x"], "input_token_count": count})
    said = translated([queued(), RUNNING, odd, COUNTED, *FINISHED], model="openai/words-2")
    assert said[-1][0] == "done"
    assert orjson.dumps([data for _, data in said])


@pytest.mark.parametrize("output", [[], ["word"], "word", 5, {}, {"value": None}, {"value": {"deep": [1]}}])
def test_what_an_executor_of_somebody_elses_calls_an_output_breaks_nothing(translated, output):
    finished = (Origin.ASSISTANT, "FinishStructureRunEvent", {"output_task_output": output})
    said = translated([queued(), RUNNING, finished, FINISHED[1]])
    assert [name for name, _ in said][-4:] == [
        "message.created",
        "message.completed",
        "run.completed",
        "done",
    ]
