"""An executor between guards."""

import dataclasses
import uuid
from datetime import timedelta

import pytest

from shared.runs.lifecycle import Reason
from worker.cancellation import CancelToken, RunStopped
from worker.executors.base import Exchange, ExecutorEvent, Failed, RunContext, Succeeded
from worker.guardrails.guarded import guarded

ADA = "ada@example.com"


def rails(*, into=False, out_of=False, masks=False):
    return {
        "pii": {
            "input": {"enabled": into},
            "output": {"enabled": out_of},
            "mask": {"remove_entity_value": masks},
        }
    }


@pytest.fixture
def context():
    return RunContext(
        run_id=uuid.uuid4(),
        assistant_id=uuid.uuid4(),
        assistant_name="Test",
        attempt=1,
        model="echo",
        input=f"I am {ADA}",
        args=(f"<{ADA}>",),
        stream=True,
        max_duration=timedelta(hours=1),
        token=CancelToken(),
        history=(Exchange(f"Hi, {ADA}", f"Hello, {ADA}"),),
    )


def says(*texts, then="the answer"):
    """An executor that remembers its context, emits an answer in chunks and gives it."""

    def execute(context, emit):
        execute.context = context
        for text in texts:
            emit(ExecutorEvent("TextChunkEvent", {"type": "TextChunkEvent", "id": "1", "token": text}))
        return Succeeded({"type": "TextArtifact", "id": "a", "value": then}, prompt=context.args[0])

    return execute


def test_without_guardrails_an_executor_is_itself():
    executor = says("a")
    assert guarded(executor, {}) is executor
    assert guarded(executor, rails()) is executor


def test_what_goes_in_is_masked_wherever_it_stands(context):
    executor, events = says("a", "b"), []
    outcome = guarded(executor, rails(into=True, masks=True))(context, events.append)
    seen = executor.context
    assert ADA not in str(dataclasses.asdict(dataclasses.replace(seen, token=None)))
    assert seen.input == "I am [EMAIL_ADDRESS]"
    assert seen.history == (Exchange("Hi, [EMAIL_ADDRESS]", "Hello, [EMAIL_ADDRESS]"),)
    assert outcome.prompt == "<[EMAIL_ADDRESS]>"
    assert outcome.detail == {"masked": {"input": {"pii": ["EMAIL_ADDRESS"]}}}
    assert [event.payload["token"] for event in events] == ["a", "b"]  # what comes out is not held back


def test_what_may_not_go_in_reaches_no_executor(context):
    executor = says("a")
    outcome = guarded(executor, rails(into=True))(context, lambda _: None)
    assert outcome == Failed(
        "The guardrail 'pii' found EMAIL_ADDRESS in the input.", Reason.GUARDRAIL_BLOCKED
    )
    assert not hasattr(executor, "context")


def test_an_answer_comes_whole_once_it_has_passed(context):
    events = []
    executor = says("It is ada@exa", "mple.com.", then=f"It is {ADA}.")
    outcome = guarded(executor, rails(out_of=True, masks=True))(context, events.append)
    assert outcome.output["value"] == "It is [EMAIL_ADDRESS]."
    (event,) = events
    assert (event.type, event.payload["token"]) == ("TextChunkEvent", "It is [EMAIL_ADDRESS].")
    assert outcome.detail["masked"] == {"output": {"pii": ["EMAIL_ADDRESS"]}}
    assert executor.context.input == f"I am {ADA}"  # nobody asked for the input to be looked at


def test_an_answer_that_may_not_pass_is_never_shown(context):
    events = []
    executor = says("It is ", ADA, then=f"It is {ADA}.")
    outcome = guarded(executor, rails(out_of=True))(context, events.append)
    assert (outcome.reason, events) == (Reason.GUARDRAIL_BLOCKED, [])


def emits(payload):
    def execute(_context, emit):
        emit(ExecutorEvent(payload["type"], payload))
        return Succeeded({"type": "TextArtifact", "value": "fine"})

    return execute


def test_every_event_is_looked_at_but_for_what_went_in_and_names(context):
    events = []
    payload = {
        "type": "FinishTaskEvent",
        "id": "212-555-2368",
        "task_id": "212-555-2368",
        "task_input": {"value": ADA},
        "task_output": {"type": "TextArtifact", "value": [f"<{ADA}>", 5, None]},
        "prompt_stack": {"messages": [{"content": ADA}]},
        "more": {"deep": [{"name": "tool", "input": {"to": ADA}}]},
    }
    guarded(emits(payload), rails(out_of=True, masks=True))(context, events.append)
    (event,) = events
    assert event.payload == {
        **payload,
        "task_output": {"type": "TextArtifact", "value": ["<[EMAIL_ADDRESS]>", 5, None]},
        "prompt_stack": {"messages": []},
        "more": {"deep": [{"name": "tool", "input": {"to": "[EMAIL_ADDRESS]"}}]},
    }


def test_a_refusal_that_the_executor_swallows_is_one_all_the_same(context):
    def execute(context, emit):
        try:
            emit(ExecutorEvent("FinishPromptEvent", {"type": "FinishPromptEvent", "result": ADA}))
        except Exception:  # noqa: BLE001  # as the framework does
            return Succeeded({"type": "TextArtifact", "value": "fine"})
        return None

    outcome = guarded(execute, rails(out_of=True))(context, lambda _: None)
    assert outcome.reason is Reason.GUARDRAIL_BLOCKED


def test_why_a_run_failed_is_looked_at_too(context):
    def fails(_context, _emit):
        return Failed(f"No such mailbox: {ADA}")

    outcome = guarded(fails, rails(out_of=True, masks=True))(context, lambda _: None)
    assert outcome.message == "No such mailbox: [EMAIL_ADDRESS]"


@pytest.mark.parametrize("error", [RunStopped(), ValueError("broken")])
def test_what_an_executor_raises_goes_on(context, error):
    def raises(_context, _emit):
        raise error

    with pytest.raises(type(error)):
        guarded(raises, rails(out_of=True))(context, lambda _: None)
