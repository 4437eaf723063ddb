"""Whatever stands where something else should in what a provider sends, reading it does not break."""

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.worker.executors.griptape.frames import (
    NAME,
    TEXT,
    THOUGHT,
    USE,
    candidate,
    cohere,
    message,
    ollama,
    piece,
)
from tests.support.llm_script import call, chunk
from worker.cancellation import CancelToken
from worker.executors.griptape.connections import model_connections
from worker.executors.griptape.model_errors import ToldError
from worker.executors.griptape.providers.answer import Answer, CallIds, mended
from worker.executors.griptape.providers.conversation import Called, Conversation, Role, Turn
from worker.executors.griptape.providers.setup import Provider, Setup
from worker.executors.models import load_provider

ODD = [None, [], {}, 5, "x", True, [None], [5], {"a": None}, 1.5]

FUNCTION = {"name": NAME, "arguments": '{"args": ["x"]}'}


def of_events(reply: Any) -> list[Any]:
    return [json.loads(frame.partition("data: ")[2]) for frame in reply.frames]


def bedrock(name: str, index: int, **content: Any) -> dict[str, Any]:
    return {name: {"contentBlockIndex": index, **content}}


STREAMS: dict[str, list[list[Any]]] = {
    "openai": [
        [chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}], refusal="b")],
        [
            chunk(content="a", reasoning_content="b"),
            chunk(reasoning_details=[{"type": "a", "text": "b", "index": 0}, {"type": "a", "text": "c"}]),
            chunk(tool_calls=[call(NAME, extra_content={"a": 1})], function_call=FUNCTION),
            {"choices": [{"message": {"content": "a"}, "text": "b", "error": {"message": "c"}}]},
            {"choices": [{"finish_reason": "stop", "usage": {"prompt_tokens": 1}}], "usage": {"a": 1}},
            {"choices": [], "x_groq": {"usage": {"prompt_tokens": 1}, "error": "a"}},
        ],
    ],
    "anthropic": [
        of_events(message(THOUGHT, ({"type": "redacted_thinking", "data": "x"},), TEXT, USE)),
        [
            {
                "type": "message",
                "content": [{"type": "text", "text": "a"}, {**USE[0], "input": {"a": 1}}],
                "usage": {"input_tokens": 1, "cache_read_input_tokens": 2},
                "stop_reason": "refusal",
                "stop_details": {"explanation": "b"},
            }
        ],
    ],
    "google": [
        [
            candidate({"text": "a", "thought": True}, {"text": "b", "thoughtSignature": "c"}, finish=None),
            candidate({"functionCall": {"id": "a", "name": NAME, "args": {"b": 1}}}),
            {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}},
            {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "a"}},
        ]
    ],
    "cohere": [
        of_events(
            cohere(
                piece("content-start", content={"type": "thinking", "thinking": "a"}),
                piece("tool-plan-delta", tool_plan="b"),
                piece("tool-call-start", tool_calls={"id": "c", "function": FUNCTION}),
            )
        ),
        [
            {
                "message": {"content": [{"text": "a"}], "tool_calls": [{"id": "b", "function": FUNCTION}]},
                "finish_reason": "COMPLETE",
                "usage": {"tokens": {"input_tokens": 1}},
            }
        ],
    ],
    "ollama": [
        [
            json.loads(line)
            for line in ollama(
                {"content": "a", "thinking": "b", "tool_calls": [{"id": "c", "function": FUNCTION}]},
                prompt_eval_count=1,
            ).frames
        ]
    ],
    "amazon-bedrock": [
        [
            bedrock("contentBlockStart", 0, start={"toolUse": {"toolUseId": "a", "name": NAME}}),
            bedrock("contentBlockDelta", 0, delta={"toolUse": {"input": "{}"}}),
            bedrock("contentBlockDelta", 1, delta={"text": "a"}),
            bedrock("contentBlockDelta", 2, delta={"reasoningContent": {"text": "a"}}),
            bedrock("contentBlockDelta", 3, delta={"reasoningContent": {"redactedContent": b"a"}}),
            {"messageStop": {"stopReason": "tool_use"}},
            {"metadata": {"usage": {"inputTokens": 1}}},
        ],
        [
            {
                "output": {
                    "message": {
                        "content": [
                            {"text": "a"},
                            {"reasoningContent": {"reasoningText": {"text": "a", "signature": "b"}}},
                            {"toolUse": {"toolUseId": "a", "name": NAME, "input": {"a": 1}}},
                        ]
                    }
                },
                "stopReason": "tool_use",
            }
        ],
    ],
}


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*place, key))


def with_odd(frames: list[Any], place: tuple[Any, ...], odd: Any) -> list[Any]:
    changed = copy.deepcopy(frames)
    holder: Any = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = odd
    return changed


def take(provider: Provider, frames: list[Any]) -> None:
    """Read an answer and send it back, as a run does."""
    answer = Answer(CallIds())
    for frame in frames:
        if isinstance(frame, dict):
            provider.read(frame, answer)
    answer.close()
    provider.finish(answer)
    calls = [Called(each.id, each.tool_name, each.read() or {}) for each in answer.calls]
    turn = Turn(Role.ASSISTANT, answer.text_so_far, calls, [], mended(answer.echo))
    provider.request(Conversation("", [Turn(Role.USER, "Hi"), turn], [], []), frozenset())


@pytest.mark.parametrize("name", STREAMS)
def test_an_odd_value_anywhere_in_a_frame_does_no_harm(script, execution, name) -> None:
    context = execution(f"{name}/m", max_duration=timedelta(minutes=1)).context
    with model_connections(CancelToken(), silence=5) as connections:
        provider = load_provider(name).build(Setup(name, "m", context, connections))
        for frames in STREAMS[name]:
            for place in places(frames):
                for odd in ODD:
                    try:
                        take(provider, with_odd(frames, place, odd))
                    except ToldError:
                        continue  # it is what the frame has become
                    except Exception as error:
                        raise AssertionError(f"{odd!r} at {place}") from error
