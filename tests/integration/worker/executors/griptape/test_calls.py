"""What is not the model's call, how calls are named, and slips that a server tells of."""

import json
import re

import pytest

from tests.integration.worker.executors.griptape.frames import (
    HI,
    NAME,
    TEXT,
    USE,
    answered,
    bedrock,
    candidate,
    message,
    ollama,
)
from tests.support.llm_script import DONE, Reply, call, called, chunk, events, refusal
from worker.executors.base import Failed

JSON = {"Content-Type": "application/json"}
PATIENT = {"model_attempts": None}


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use"])
def test_the_call_of_a_tool_that_the_server_runs_is_none_of_ours(script, execution, tool, kind) -> None:
    own = (
        {"type": kind, "id": "srv_1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query": "x"}'},
    )
    found = ({"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},)
    script.replies = [message(own, found, TEXT)]

    executed = execution("anthropic/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "name",
    [
        f"functions.{NAME}",
        f"{NAME}<|channel|>commentary",
        f" {NAME}\n",
        f"default_api:{NAME}",
        f"tool::{NAME}",
    ],
)
def test_what_a_model_puts_beside_the_name_of_a_tool_is_not_of_it(script, execution, tool, name) -> None:
    script.replies = [called(call(name)), HI]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]


@pytest.mark.parametrize("name", ["get weather!日本", "x" * 500, "_", "_x", "a__b", "<|x|>", "/", "\x00"])
@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "ollama"])
def test_a_name_that_no_tool_can_have_goes_back_as_one_that_it_could(
    script, execution, tool, provider, name
) -> None:
    calling = {
        "openai": called(call(name)),
        "anthropic": message(({**USE[0], "name": name},), stop="tool_use"),
        "google": events(candidate({"functionCall": {"name": name, "args": {}}, "thoughtSignature": "a"})),
        "ollama": ollama({"tool_calls": [{"function": {"name": name, "arguments": {}}}]}),
    }[provider]
    good = {
        "openai": HI,
        "anthropic": message(TEXT),
        "google": events(candidate({"text": "Hi there"})),
        "ollama": ollama({"content": "Hi there"}),
    }[provider]
    script.replies = [calling, good]

    executed = execution(f"{provider}/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == []
    sent = [name for name in _names(script.requests[1]) if name != NAME]
    assert sent
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in sent), sent


def _names(value):
    """Every `name` and `tool_name` in a request."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key in {"name", "tool_name"} and isinstance(each, str):
                yield each
            yield from _names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _names(each)


@pytest.mark.parametrize(
    "arguments",
    [
        '{"args": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"args": ' + "[" * 900 + "]" * 900 + "}",
        '{"args": ' + "[" * 100_000,
        '{"args": ["x"], "n": ' + "9" * 5_000 + "}",
        '{"args": ["x"], "n": NaN}',
        '"{\\"args\\": ' + "[" * 1_000,
    ],
    ids=range(6),
)
def test_arguments_that_nobody_could_read_are_a_slip(script, execution, tool, arguments) -> None:
    script.replies = [called(call(NAME, arguments)), HI]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == []


def test_long_arguments_in_small_pieces_take_no_time_to_speak_of(script, execution, tool) -> None:
    pieces = [chunk(tool_calls=[{"index": 0, "function": {"arguments": '"abcdefgh", '}}])] * 60_000
    script.replies = [
        events(
            chunk(tool_calls=[call(NAME, '{"args": [')]),
            *pieces,
            chunk(tool_calls=[{"index": 0, "function": {"arguments": '"x"]}'}}]),
            chunk("tool_calls"),
            DONE,
        ),
        HI,
    ]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert len(tool.calls[0]) == 60_001


SLIPS = {
    "refused": (
        "openai",
        refusal(
            400,
            {
                "error": {
                    "message": "Failed to call a function. See 'failed_generation'.",
                    "code": "tool_use_failed",
                }
            },
        ),
    ),
    "within an answer": (
        "openai",
        events(
            {
                "error": {
                    "message": "Failed to call a function.",
                    "code": "tool_use_failed",
                    "status_code": 400,
                }
            }
        ),
    ),
    "not parsed": (
        "openai",
        refusal(500, {"error": {"message": "Failed to parse tool call arguments as JSON"}}),
    ),
    "a line": ("ollama", Reply(['{"error": "error parsing tool call: raw=\'{\', err=unexpected end"}\n'])),
    "a reason": ("google", events(candidate(finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed"))),
    "unexpected": ("google", events(candidate(finish="UNEXPECTED_TOOL_CALL"))),
    "bedrock": ("amazon-bedrock", bedrock(stop="malformed_tool_use")),
    "nova": (
        "amazon-bedrock",
        Reply(
            ['{"message": "The model produced invalid sequence as part of ToolUse."}'],
            424,
            {**JSON, "x-amzn-errortype": "ModelErrorException"},
        ),
    ),
}
GOOD = {
    "openai": HI,
    "ollama": ollama({"content": "Hi there"}),
    "google": events(candidate({"text": "Hi there"})),
    "amazon-bedrock": bedrock({"text": "Hi there"}),
}


@pytest.mark.parametrize("kind", SLIPS)
def test_a_slip_that_the_server_tells_of_is_told_to_the_model(script, execution, tool, kind) -> None:
    provider, slip = SLIPS[kind]
    script.replies = [slip, slip, GOOD[provider]]

    executed = execution(f"{provider}/m", structures=(tool.as_structure,), options=PATIENT).run()

    assert answered(executed), executed.outcome
    assert json.dumps(script.requests[-1]).count("could not be read. Call it again") == 1
    assert "Hello there" in json.dumps(script.requests[-1])


def test_a_model_that_slips_again_and_again_is_given_up(script, execution, tool) -> None:
    script.replies = [SLIPS["refused"][1]]

    outcome = execution("openai/m", structures=(tool.as_structure,), options=PATIENT).run().outcome

    assert isinstance(outcome, Failed)
    assert "Failed to call a function" in outcome.message
    assert len(script.requests) == 4
