"""An executor between guards."""

import dataclasses
import uuid
from asyncio import CancelledError
from datetime import timedelta

import pytest

from shared.lifecycle import Reason
from worker.cancellation import CancelToken, RunStopped
from worker.executors.base import (
    REASONING_CHUNK,
    CallableStructure,
    Exchange,
    ExecutorEvent,
    Failed,
    InvalidConfigurationError,
    PlatformError,
    RunContext,
    Succeeded,
)
from worker.executors.policy import Blame, Policy, with_policy
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


def test_what_a_model_thinks_is_not_shown_where_its_answer_is_looked_at(context):
    def thinks(_context, emit):
        emit(ExecutorEvent(REASONING_CHUNK, {"type": REASONING_CHUNK, "token": ADA[:5]}))
        return Succeeded({"type": "TextArtifact", "id": "a", "value": "done"})

    events = []
    guarded(thinks, rails(out_of=True, masks=True))(context, events.append)

    assert REASONING_CHUNK not in [event.type for event in events]


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


def test_every_event_is_looked_at_but_for_what_went_in_and_plain_names(context):
    events = []
    run_id = uuid.uuid4().hex
    payload = {
        "type": "FinishTaskEvent",
        "id": run_id,
        "task_id": run_id,
        "task_child_ids": [run_id],
        "task_input": {"value": ADA},
        "task_output": {"type": "TextArtifact", "value": [f"<{ADA}>", 5, None, True]},
        "prompt_stack": {"messages": [{"content": ADA}]},
        "more": {"deep": [{"name": ADA, "user_id": ADA, "input": {"id": ADA}}], ADA: 4111111111111111},
    }
    guarded(emits(payload), rails(out_of=True, masks=True))(context, events.append)
    (event,) = events
    masked = "[EMAIL_ADDRESS]"
    assert event.payload == {
        **payload,
        "task_output": {"type": "TextArtifact", "value": [f"<{masked}>", 5, None, True]},
        "prompt_stack": {"messages": []},
        "more": {
            "deep": [{"name": masked, "user_id": masked, "input": {"id": masked}}],
            masked: "[CREDIT_CARD]",
        },
    }


@pytest.mark.parametrize("kind", ["StartActionsSubtaskEvent", "FinishActionsSubtaskEvent"])
def test_the_input_of_a_step_is_what_the_model_has_said(context, kind):
    events = []
    guarded(emits({"type": kind, "task_input": {"value": ADA}}), rails(out_of=True, masks=True))(
        context, events.append
    )
    assert ADA not in str(events)


def calls(structure_args):
    def execute(context, _emit):
        answer = context.structures[0].call(structure_args)
        return Succeeded({"type": "TextArtifact", "value": "done", "seen": answer["value"]})

    return execute


@pytest.fixture
def calling(context):
    """The context with a structure that says back what it is called with, and what it was called with."""
    heard = []

    def call(args):
        heard.extend(args)
        return {"type": "TextArtifact", "value": f"{args[0]} or {ADA}"}

    structures = (CallableStructure("Back", "", call),)
    return dataclasses.replace(context, structures=structures), heard


def test_what_a_structure_is_called_with_comes_out_and_what_it_answers_goes_in(calling):
    context, heard = calling
    outcome = guarded(calls([ADA]), rails(into=True, out_of=True, masks=True))(context, lambda _: None)
    assert heard == ["[EMAIL_ADDRESS]"]
    assert outcome.output["seen"] == "[EMAIL_ADDRESS] or [EMAIL_ADDRESS]"


def test_a_call_that_may_not_be_made_is_not(calling):
    context, heard = calling
    outcome = guarded(calls([ADA]), rails(out_of=True))(context, lambda _: None)
    assert (outcome.reason, heard) == (Reason.GUARDRAIL_BLOCKED, [])


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
        return Failed(f"No such mailbox: {ADA}", detail={"more": [ADA]})

    outcome = guarded(fails, rails(out_of=True, masks=True))(context, lambda _: None)
    assert outcome.message == "No such mailbox: [EMAIL_ADDRESS]"
    assert outcome.detail["more"] == ["[EMAIL_ADDRESS]"]


def raises(error):
    def execute(_context, _emit):
        raise error

    return execute


def test_so_is_what_an_executor_raises(context):
    outcome = guarded(raises(ValueError(f"said {ADA}")), rails(out_of=True, masks=True))(context, None)
    assert outcome.message == "ValueError: said [EMAIL_ADDRESS]"
    outcome = guarded(raises(ValueError(f"said {ADA}")), rails(out_of=True))(context, None)
    assert outcome.reason is Reason.GUARDRAIL_BLOCKED
    with pytest.raises(InvalidConfigurationError, match=r"^no \[EMAIL_ADDRESS\]$") as broken:
        guarded(raises(InvalidConfigurationError(f"no {ADA}")), rails(out_of=True, masks=True))(context, None)
    assert broken.value.__context__ is None


def test_what_the_platform_fails_stays_its_failure(context):
    masks = rails(out_of=True, masks=True)
    with pytest.raises(PlatformError, match=r"^no \[EMAIL_ADDRESS\]$") as broken:
        guarded(raises(PlatformError(f"no {ADA}")), masks)(context, None)
    assert broken.value.__context__ is None
    ours = with_policy(raises(ValueError("broken")), Policy(blame=Blame.PLATFORM))
    with pytest.raises(ValueError, match="broken"):
        guarded(ours, masks)(context, None)


def test_an_exception_that_is_no_error_is_looked_at_too(context):
    outcome = guarded(raises(CancelledError(f"said {ADA}")), rails(out_of=True, masks=True))(context, None)
    assert outcome.message == "CancelledError: said [EMAIL_ADDRESS]"


@pytest.mark.parametrize("error", [RunStopped(), ValueError("broken")])
def test_what_nobody_is_to_look_at_is_raised_as_it_is(context, error):
    with pytest.raises(type(error)):
        guarded(raises(error), rails(into=True, masks=True))(context, lambda _: None)


def test_a_run_that_is_to_stop_stops(context):
    with pytest.raises(RunStopped):
        guarded(raises(RunStopped()), rails(out_of=True))(context, lambda _: None)
