"""Servers that frame a provider's protocol in a way of their own."""

import json

import pytest

from tests.integration.worker.executors.griptape.frames import (
    HI,
    answered,
    bedrock,
    ollama,
)
from tests.support.llm_script import DONE, Reply, chunk, events, said
from worker.executors.base import REASONING_CHUNK, Failed

JSON = {"Content-Type": "application/json"}
PATIENT = {"model_attempts": None}


def thoughts(executed) -> str:
    return "".join(event.payload["token"] for event in executed.events if event.type == REASONING_CHUNK)


FRAMINGS = {
    "comments while it waits": Reply([": OPENROUTER PROCESSING\n\n"] * 5 + list(HI.frames)),
    "data within data": Reply([f"data: {frame}" for frame in HI.frames]),
    "no empty lines": Reply([frame.replace("\n\n", "\n") for frame in HI.frames]),
    "carriage returns": Reply([frame.replace("\n", "\r") for frame in HI.frames]),
    "a byte at a time": Reply([bytes([each]) for frame in HI.frames for each in frame.encode()]),
    "lines of JSON": Reply(
        [f"{json.dumps(each)}\n" for each in (chunk(content="Hi there"), chunk("stop"))] + ["[DONE]\n"]
    ),
    "lines of JSON and an event": Reply([f"{json.dumps(chunk(content='Hi there'))}\n", "data: [DONE]\n"]),
    "a list over many lines": Reply(
        [json.dumps([chunk(content="Hi "), chunk("stop", content="there")], indent=1)]
    ),
    "a string with a line end": Reply(
        ['{"choices": [{"message": {"content":\n"Hi there"}, "note": "a\nb}"}]}']
    ),
}


@pytest.mark.parametrize("kind", FRAMINGS)
def test_an_answer_may_be_framed_in_other_ways(script, execution, kind) -> None:
    script.replies = [FRAMINGS[kind], Reply(status=418)]

    executed = execution("openai/m").run()

    if kind == "a string with a line end":  # which has no reason to finish
        assert executed.text == "Hi there"
    else:
        assert answered(executed), executed.outcome


@pytest.mark.parametrize(
    "frames",
    [
        (chunk(content=["Hi ", "there"]),),
        (chunk(content={"type": "text", "text": "Hi there"}),),
        (chunk(content=[{"type": "text", "text": {"value": "Hi there"}}]),),
        (
            {"choices": [{"index": 0, "delta": {"content": "Hi "}, "finish_reason": ""}]},
            chunk(content="there"),
        ),
        (
            {"choices": [{"delta": {"content": "Hi "}, "finish_reason": "not_finished"}]},
            chunk(content="there"),
        ),
        ({"choices": [{"delta": {"content": "Hi there"}, "finish_reason": None, "finishReason": "stop"}]},),
    ],
    ids=range(6),
)
def test_a_chunk_may_have_another_shape(script, execution, frames) -> None:
    script.replies = [events(*frames, chunk("stop"))]

    assert answered(execution("openai/m").run())


def test_a_reason_to_finish_may_have_another_name(script, execution) -> None:
    script.replies = [events(chunk(content="Hi there"), {"choices": [{"delta": {}, "finishReason": "stop"}]})]

    assert answered(execution("openai/m").run())


def test_a_figure_may_come_as_a_number(script, execution) -> None:
    script.replies = [events(chunk(content="It is "), chunk(content=5), chunk("stop"), DONE)]

    assert execution("openai/m").run().output == "It is 5"


@pytest.mark.parametrize(
    ("reason", "how"),
    [
        ({"type": "length", "length": 3}, "cut"),
        ({"type": "stop", "matched": 2}, None),
        ("max_output", "cut"),
        ("MAX_LENGTH", "cut"),
        ("max new tokens", "cut"),
    ],
    ids=str,
)
def test_a_reason_to_finish_may_be_an_object_or_another_word(script, execution, reason, how) -> None:
    script.replies = [
        events(chunk(content="Hi"), {"choices": [{"delta": {}, "finish_reason": reason}]}, DONE)
    ]

    assert execution("openai/m").run().outcome.detail.get("answer") == how


@pytest.mark.parametrize(
    "counts", ['{"prompt_tokens": 1e999}', '{"prompt_tokens": "12"}', '{"prompt_tokens": -1}', "[]"]
)
def test_counts_that_are_none_do_not_break_an_answer(script, execution, counts) -> None:
    script.replies = [
        events(
            chunk(content="Hi there"), chunk("stop"), f'data: {{"choices": [], "usage": {counts}}}\n\n', DONE
        )
    ]

    assert answered(execution("openai/m").run())


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("openai", said("<think>", "Hm", "</think>", "\n\nHi ", "there")),
        ("openai", said("<", "thi", "nk>H", "m</th", "ink>\n", "\nHi ", "there")),
        ("ollama", ollama({"content": "<think>Hm</think>\nHi "}, {"content": "there"})),
        ("amazon-bedrock", bedrock({"text": "<think>Hm</think>"}, {"text": "Hi there"})),
        (
            "openai",
            Reply(
                [
                    json.dumps(
                        {
                            "choices": [
                                {"message": {"content": "<think>Hm</think>Hi there"}, "finish_reason": "stop"}
                            ]
                        }
                    )
                ]
            ),
        ),
    ],
    ids=range(5),
)
def test_thoughts_in_tags_before_an_answer_are_no_part_of_it(script, execution, provider, reply) -> None:
    script.replies = [reply]

    executed = execution(f"{provider}/m").run()

    assert answered(executed), executed.outcome
    assert executed.text == "Hi there"
    assert thoughts(executed) == "Hm"


@pytest.mark.parametrize(("finish", "words"), [("stop", "after having thought"), ("length", "cut off")])
def test_thoughts_in_tags_alone_are_no_answer(script, execution, finish, words) -> None:
    script.replies = [said("<think>Hm", finish=finish)]

    outcome = execution("openai/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert words in outcome.message
