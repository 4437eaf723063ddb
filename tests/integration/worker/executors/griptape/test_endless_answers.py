"""An answer without end costs a run, and neither a worker's memory nor its time."""

import threading

import pytest

from tests.integration.worker.executors.griptape.frames import (
    HI,
    answered,
    bedrock,
    candidate,
    ollama,
)
from tests.support.llm_script import Reply, chunk, events, refusal, said
from worker.executors.base import Failed
from worker.executors.griptape import model_driver
from worker.executors.griptape.providers import answer as answer_so_far
from worker.executors.griptape.providers import frames as framing

JSON = {"Content-Type": "application/json"}
PATIENT = {"model_attempts": None}


def test_an_answer_without_end_is_given_up(script, execution, monkeypatch) -> None:
    monkeypatch.setattr(answer_so_far, "MAX_LENGTH", 10_000)
    script.replies = [said(*["x" * 1_000] * 50)]

    outcome = execution("openai/m", options=PATIENT).run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.message == "openai/m sent more than a run may hold, and was given up."
    assert len(script.requests) == 1


EMPTY_CALLS = [{"index": number} for number in range(100)]


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("openai", events(*[chunk(refusal="No. ")] * 5_000)),
        ("openai", events(*[chunk(reasoning_details=[{}] * 100)] * 5)),
        ("openai", events(chunk(tool_calls=EMPTY_CALLS))),
        ("openai", events(chunk(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}] * 100))),
        ("anthropic", events(*[{"type": "content_block_start", "index": n} for n in range(500)])),
        (
            "anthropic",
            events(
                *[
                    {"type": "content_block_delta", "index": n, "delta": {"type": "text_delta", "text": ""}}
                    for n in range(500)
                ]
            ),
        ),
        (
            "anthropic",
            events(
                *[
                    {
                        "type": "content_block_delta",
                        "delta": {"type": "signature_delta", "signature": "x" * 100},
                    }
                ]
                * 500
            ),
        ),
        ("google", events(candidate(*[{}] * 500))),
        ("google", events(candidate({"inlineData": {"data": "x" * 20_000}}))),
        ("ollama", ollama({"tool_calls": [{}] * 100})),
        ("amazon-bedrock", bedrock(*[{"reasoningContent": {"signature": "x" * 100}}] * 200)),
        ("amazon-bedrock", bedrock(*[{"reasoningContent": {"redactedContent": "eHh4"}}] * 500)),
        ("amazon-bedrock", bedrock(*[{"text": ""}] * 200)),
    ],
    ids=range(13),
)
def test_what_is_kept_beside_the_words_of_an_answer_has_an_end(
    script, execution, monkeypatch, provider, reply
) -> None:
    monkeypatch.setattr(answer_so_far, "MAX_LENGTH", 10_000)
    script.replies = [reply]

    outcome = execution(f"{provider}/m").run().outcome

    assert outcome.message == f"{provider}/m sent more than a run may hold, and was given up."


@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
def test_an_answer_of_bedrock_without_end_is_given_up(script, execution, monkeypatch, is_stream) -> None:
    monkeypatch.setattr(framing, "MAX_BYTES" if is_stream else "MAX_FRAME", 10_000)
    if is_stream:
        script.replies = [bedrock(*[{"text": ""}] * 500)]
    else:
        no_stream = refusal(400, {"message": "The model is unsupported for streaming"})
        script.replies = [no_stream, Reply([" " * 20_000], headers=JSON)]

    outcome = execution("amazon-bedrock/m").run().outcome

    assert outcome.message == "amazon-bedrock/m sent more than a run may hold, and was given up."


@pytest.mark.parametrize(
    ("provider", "frames"),
    [
        ("openai", HI.frames[:-1]),
        ("google", events(candidate({"text": "Hi there"})).frames),
        ("amazon-bedrock", bedrock({"text": "Hi there"}).frames),
    ],
)
@pytest.mark.parametrize("after", ["", ": ping\n\n", 'data: {"choices": [], "candidates": []}\n\n'])
def test_a_server_that_does_not_close_after_its_answer_is_hung_up_on(
    script, execution, monkeypatch, provider, frames, after
) -> None:
    monkeypatch.setattr(model_driver, "KEEP_OPEN_TIMEOUT", 0.3)
    left = threading.Event()

    def forever():
        yield from frames
        while not left.wait(0.05):
            yield "" if provider == "amazon-bedrock" else after

    script.replies = [Reply(forever())]
    executed = execution(f"{provider}/m").start()
    try:
        has_ended = executed.has_ended(within=20)
    finally:
        left.set()

    assert has_ended
    assert answered(executed), executed.outcome
