"""What a run is given of a long thread, at what cost, and what the log keeps of it."""

import json
import time

from shared.artifacts import text_artifact
from worker.executors.base import CallableStructure, Exchange, Succeeded

LONG = "x" * 400  # some hundred tokens
SAID = Exchange("how", LONG)


def messages(execution):
    """The messages of each model call, as the events tell them."""
    return [
        event.payload["prompt_stack"]["messages"]
        for event in execution.events
        if event.type == "StartPromptEvent"
    ]


def test_a_long_thread_costs_in_proportion_to_its_length(execution) -> None:
    history = (*[SAID] * 2_499, Exchange("my name is Billy", "hello Billy"))
    begun = time.process_time()

    answered = execution("echo", history=history).run()

    assert time.process_time() - begun < 10
    (stack,) = messages(answered)
    kept = (len(stack) - 1) // 2
    assert 500 < kept < 2_500  # of 100,000 tokens
    assert "hello Billy" in json.dumps(stack[-2])
    assert answered.outcome.detail == {"history_left_out": 2_500 - kept}


def test_what_fits_is_given_whole_and_nothing_is_said_of_it(execution) -> None:
    answered = execution("echo", history=(SAID,) * 3).run()

    (stack,) = messages(answered)
    assert len(stack) == 7
    assert answered.outcome.detail == {}


def test_a_message_that_alone_exceeds_the_window_is_left_out_with_all_before_it(execution) -> None:
    history = (SAID, Exchange("long", "x" * 500_000), Exchange("last", "word"))

    answered = execution("echo", history=history, history_left_out=7).run()

    (stack,) = messages(answered)
    assert len(stack) == 3
    assert answered.outcome.detail == {"history_left_out": 9}


def test_a_prompt_that_fills_the_window_is_asked_without_history(execution) -> None:
    answered = execution("echo", "x" * 400_000, history=(SAID,)).run()

    assert isinstance(answered.outcome, Succeeded)
    assert answered.outcome.detail == {"history_left_out": 1}


def test_the_prompt_is_told_once_however_often_the_model_is_called(stub, execution) -> None:
    structure = CallableStructure("adder", "Adds.", lambda _: text_artifact("42"))

    answered = execution("openai/tool", "the question", structures=(structure,), history=(SAID,)).run()

    assert isinstance(answered.outcome, Succeeded)
    first, *later = messages(answered)
    assert "the question" in json.dumps(first)
    assert later
    assert later == [[] for _ in later]
