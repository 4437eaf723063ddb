"""What becomes of a run, for every way in which its work can end."""

import itertools
from datetime import timedelta

import pytest

from shared.lifecycle import TRANSITIONS, Reason, RunStatus, StoppedHow, Trigger
from worker.attempt.conclusion import UNEXPECTED, Ending, Result, conclude
from worker.cancellation import StopReason
from worker.executors.base import Failed, InvalidConfigurationError, PlatformError, Succeeded
from worker.executors.policy import DEFAULT_POLICY
from worker.executors.program.executor import POLICY as PROGRAM_POLICY

ARTIFACT = {"type": "TextArtifact", "value": "4"}
USAGE = {"total_tokens": 3}

POLICIES = {"assistant": DEFAULT_POLICY, "structure": PROGRAM_POLICY}
OUTCOMES = {
    "an answer": Succeeded(ARTIFACT, prompt="2 + 2?", detail={"history_left_out": 1}),
    "an exit": Succeeded(None, message="The program ended.", detail={"exit_code": 0}),
    "a failure": Failed("503", Reason.MODEL_FAILED, {"status": 503}),
    "a configuration error": InvalidConfigurationError("no key"),
    "a platform error": PlatformError("the API was away"),
    "an exception": ValueError("odd"),
    "nothing": None,
}
ENDS_BY_OUTCOME = {  # trigger, reason and message, of a token that has not fired
    "an answer": (Trigger.SUCCEED, Reason.COMPLETED, "The assistant answered."),
    "an exit": (Trigger.SUCCEED, Reason.COMPLETED, "The program ended."),
    "a failure": (Trigger.FAIL, Reason.MODEL_FAILED, "503"),
    "a configuration error": (Trigger.BREAK, Reason.INVALID_CONFIGURATION, "no key"),
    "a platform error": (Trigger.BREAK, Reason.INTERNAL_ERROR, "the API was away"),
}
ENDS_BY_REASON = {
    StopReason.TIMED_OUT: (Trigger.BREAK, Ending.BROKEN, Reason.TIMED_OUT),
    StopReason.DATABASE_LOST: (Trigger.BREAK, Ending.BROKEN, Reason.INTERNAL_ERROR),
    StopReason.DRAINED: (Trigger.REQUEUE, Ending.REQUEUED, Reason.WORKER_DRAINED),
    StopReason.CANCELLED: (Trigger.CANCEL, Ending.CANCELLED, None),
    StopReason.LEASE_LOST: (None, Ending.LOST, None),
}
EVERY = list(itertools.product(OUTCOMES, [None, *StopReason], POLICIES))


def conclusion_of(outcome, stop_reason=None, kind="assistant", how=StoppedHow.INTERRUPTED):
    return conclude(
        Result(
            OUTCOMES[outcome],
            stop_reason=stop_reason,
            stopped_how=how,
            policy=POLICIES[kind],
            usage=USAGE,
            max_duration=timedelta(seconds=9),
            worker="w1",
        )
    )


@pytest.mark.parametrize(("outcome", "stop_reason", "kind"), EVERY)
def test_every_result_has_a_conclusion_whose_ending_is_where_its_move_leads(outcome, stop_reason, kind):
    conclusion = conclusion_of(outcome, stop_reason, kind)
    leads_to = {
        Ending.SUCCEEDED: RunStatus.SUCCEEDED,
        Ending.FAILED: RunStatus.FAILED,
        Ending.BROKEN: RunStatus.ERROR,
        Ending.REQUEUED: RunStatus.QUEUED,
        Ending.CANCELLED: RunStatus.CANCELLED,
    }
    if conclusion.trigger is None:
        assert conclusion.ending in {Ending.CANCELLED, Ending.LOST}
        assert conclusion.detail is None
    else:
        assert TRANSITIONS[conclusion.trigger][RunStatus.RUNNING] is leads_to[conclusion.ending]


@pytest.mark.parametrize(
    ("outcome", "stop_reason", "kind"), [one for one in EVERY if one[1] is not None], ids=str
)
def test_a_token_that_fired_outweighs_every_outcome(outcome, stop_reason, kind):
    conclusion = conclusion_of(outcome, stop_reason, kind)
    reason = None if conclusion.detail is None else conclusion.detail["reason"]
    assert (conclusion.trigger, conclusion.ending, reason) == ENDS_BY_REASON[stop_reason]


@pytest.mark.parametrize(("outcome", "kind"), list(itertools.product(ENDS_BY_OUTCOME, POLICIES)))
def test_a_declared_outcome_ends_every_kind_of_run_alike(outcome, kind):
    conclusion = conclusion_of(outcome, kind=kind)
    detail = conclusion.detail
    assert (conclusion.trigger, detail["reason"], detail["message"]) == ENDS_BY_OUTCOME[outcome]
    assert conclusion.values["usage"] == USAGE


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("assistant", (Trigger.FAIL, Reason.ASSISTANT_FAILED, "ValueError: odd")),
        ("structure", (Trigger.BREAK, Reason.INTERNAL_ERROR, UNEXPECTED)),
    ],
)
def test_the_policy_of_the_executor_says_who_is_to_blame_for_an_exception(kind, expected):
    conclusion = conclusion_of("an exception", kind=kind)
    assert (conclusion.trigger, conclusion.detail["reason"], conclusion.detail["message"]) == expected


def test_a_success_keeps_its_output_its_prompt_and_its_details():
    conclusion = conclusion_of("an answer")
    assert conclusion.values == {"output": ARTIFACT, "prompt": "2 + 2?", "usage": USAGE}
    assert conclusion.detail["history_left_out"] == 1


def test_the_facts_of_a_failure_never_replace_its_reason_and_message():
    failure = Failed("503", Reason.MODEL_FAILED, {"reason": "Other", "message": "other", "status": 503})
    assert conclude(Result(failure)).detail == {"reason": "ModelFailed", "message": "503", "status": 503}


def test_a_drained_run_names_its_worker_and_a_timed_out_run_its_limit():
    assert conclusion_of("nothing", StopReason.DRAINED).detail["worker"] == "w1"
    message = conclusion_of("nothing", StopReason.TIMED_OUT).detail["message"]
    assert message == "The run took longer than it may: 9 s."


@pytest.mark.parametrize("stop_reason", [None, StopReason.CANCELLED])
def test_the_receipt_of_a_cancelled_run_says_how_its_work_stopped(stop_reason):
    assert conclusion_of("nothing", stop_reason).stopped_how is StoppedHow.INTERRUPTED


def test_a_run_that_stopped_without_its_token_makes_no_move():
    assert conclusion_of("nothing") == conclusion_of("nothing", None, "structure")
    assert conclusion_of("nothing").trigger is None
