"""Parts of a conversation that a model does not take, and what goes back to it."""

import json
from itertools import pairwise

import pytest

from tests.integration.worker.executors.griptape.frames import (
    HI,
    NAME,
    TEXT,
    USE,
    answered,
    bedrock,
    candidate,
    cohere,
    message,
    ollama,
    piece,
)
from tests.support.llm_script import DONE, Reply, call, called, chunk, events, refusal, said
from worker.executors.base import Rule, Ruleset, Succeeded

JSON = {"Content-Type": "application/json"}
PATIENT = {"model_attempts": None}


RULES = {"rulesets": (Ruleset("Manners", (Rule("polite", "Be brief."),)),)}


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("openai", "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        ("openai", "System role not supported"),
        ("openai", "Conversation roles must alternate user/assistant/user/assistant/..."),
        ("openai", "Only user and assistant roles are supported!"),
        ("openai", "unsupported message role: system"),
        ("openai", "System messages are not allowed"),
        ("anthropic", "role 'system' is not supported on this model"),
        ("google", "Developer instruction is not enabled for models/gemma-3-27b-it"),
        ("amazon-bedrock", "This model doesn't support system messages. Try again without system messages."),
    ],
)
def test_a_model_that_knows_two_sides_only_is_told_all_by_the_user(
    script, execution, provider, words
) -> None:
    good = {
        "openai": HI,
        "anthropic": message(TEXT),
        "google": events(candidate({"text": "Hi there"})),
        "amazon-bedrock": bedrock({"text": "Hi there"}),
    }[provider]
    headers = {**JSON, "x-amzn-errortype": "ValidationException"}
    body = json.dumps({"message": words} if provider == "amazon-bedrock" else {"error": {"message": words}})

    def refuse(asked):
        has_one = "system" in asked or "systemInstruction" in asked or '"role": "system"' in json.dumps(asked)
        return Reply([body], 400, headers) if has_one else None

    script.answering = refuse
    script.replies = [good]

    for _ in range(2):
        assert answered(execution(f"{provider}/m", **RULES).run())
    assert len(script.requests) == 3  # it is remembered
    assert "Be brief." in json.dumps(script.requests[-1])
    assert "Hello there" in json.dumps(script.requests[-1])


def at_the_cap(asked):
    """Call a tool as long as that is allowed."""
    may = asked.get("tools") and asked.get("tool_choice") != "none"
    return called(call(NAME)) if may else said("Enough")


def test_where_calls_may_not_be_without_their_tools_they_are_not(script, execution, tool) -> None:
    words = "UnsupportedParamsError: Anthropic expects the `tools=` param to be passed in"

    def answer(asked):
        has_called = any(each["role"] == "tool" for each in asked["messages"])
        return (
            refusal(400, {"error": {"message": words}})
            if has_called and "tools" not in asked
            else at_the_cap(asked)
        )

    script.answering = answer

    executed = execution("openai/m", structures=(tool.as_structure,), options={"max_steps": 1}).run()

    assert executed.output == "Enough", executed.outcome
    assert script.requests[-1]["tool_choice"] == "none"


def test_where_a_user_may_not_follow_a_tool_its_words_are_with_the_tools(script, execution, tool) -> None:
    def answer(asked):
        roles = [each["role"] for each in asked["messages"]]
        if ("tool", "user") in pairwise(roles):
            return refusal(400, {"message": "Unexpected role 'user' after role 'tool'", "code": "3230"})
        return at_the_cap(asked)

    script.answering = answer

    executed = execution("openai/m", structures=(tool.as_structure,), options={"max_steps": 1}).run()

    assert executed.output == "Enough", executed.outcome
    assert "as often as you may" in script.requests[-1]["messages"][-1]["content"]


def test_bedrocks_sides_alternate_at_the_end_of_all_calls(script, execution, tool) -> None:
    use = bedrock({"toolUse": {"toolUseId": "t1", "name": NAME}}, {"toolUse": {"input": '{"args": ["x"]}'}})
    script.answering = lambda asked: use if asked.get("toolConfig") else bedrock({"text": "Enough"})

    executed = execution("amazon-bedrock/m", structures=(tool.as_structure,), options={"max_steps": 2}).run()

    assert executed.output == "Enough", executed.outcome
    roles = [each["role"] for each in script.requests[-1]["messages"]]
    assert roles == ["user", "assistant"] * 2 + ["user"]


def test_an_answer_that_may_be_too_long_for_the_window_may_be_shorter(script, execution) -> None:
    words = "input length and `max_tokens` exceed context limit: 190000 + {} > 200000, decrease one"

    def answer(asked):
        if asked["max_tokens"] > 10_000:
            return refusal(400, {"error": {"message": words.format(asked["max_tokens"])}})
        return message(TEXT)

    script.answering = answer

    assert answered(execution("anthropic/claude-sonnet-4").run())
    assert [each["max_tokens"] for each in script.requests] == [32_000, 10_000]


@pytest.mark.parametrize("provider", ["amazon-bedrock", "anthropic"])
def test_a_model_that_does_not_want_its_thoughts_back_does_not_get_them(
    script, execution, tool, provider
) -> None:
    thinking = ({"type": "thinking", "thinking": "Hm", "signature": "bad"},)
    replies, name, words = {
        "amazon-bedrock": (
            [
                bedrock(
                    {"reasoningContent": {"text": "Hm"}},
                    {"toolUse": {"toolUseId": "t1", "name": NAME}},
                    {"toolUse": {"input": '{"args": ["x"]}'}},
                    stop="tool_use",
                ),
                bedrock({"text": "Hi there"}),
            ],
            "reasoningContent",
            "This model doesn't support the reasoningContent content block.",
        ),
        "anthropic": (
            [message(thinking, USE, stop="tool_use"), message(TEXT)],
            "thinking",
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
    }[provider]
    headers = {**JSON, "x-amzn-errortype": "ValidationException"}
    refused = Reply([json.dumps({"message": words})], 400, headers)
    script.answering = lambda asked: refused if f'"{name}"' in json.dumps(asked) else None
    script.replies = replies

    executed = execution(f"{provider}/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]


@pytest.mark.parametrize("before", [(), ({"reasoningContent": {"text": "Hm"}},)], ids=["", "thoughts"])
def test_where_words_may_not_stand_beside_calls_they_do_not(script, execution, tool, before) -> None:
    words = "Conversation blocks and tool use blocks cannot be provided in the same turn."
    headers = {**JSON, "x-amzn-errortype": "ValidationException"}

    def refuse(asked):
        said_by_it = [
            set().union(*each["content"]) for each in asked["messages"] if each["role"] == "assistant"
        ]
        is_mixed = any({"text", "toolUse"} <= kinds for kinds in said_by_it)
        return Reply([json.dumps({"message": words})], 400, headers) if is_mixed else None

    use = ({"toolUse": {"toolUseId": "t1", "name": NAME}}, {"toolUse": {"input": '{"args": ["x"]}'}})
    script.answering = refuse
    script.replies = [
        bedrock(*before, {"text": "Let me see."}, *use, stop="tool_use"),
        bedrock({"text": "Hi there"}),
    ]

    executed = execution("amazon-bedrock/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]


@pytest.mark.parametrize("value", ["", "Hm"])
def test_a_thought_goes_back_though_it_be_empty(script, execution, tool, value) -> None:
    script.replies = [
        events(chunk(reasoning_content=value), chunk(tool_calls=[call(NAME)]), chunk("tool_calls"), DONE),
        HI,
    ]

    assert answered(execution("openai/m", structures=(tool.as_structure,)).run())
    assert script.requests[1]["messages"][-2]["reasoning_content"] == value


def test_details_of_thoughts_go_back_joined(script, execution, tool) -> None:
    def detail(index, **more):
        return chunk(reasoning_details=[{"type": "reasoning.text", "index": index, "format": "f", **more}])

    script.replies = [
        events(
            detail(0, text="H"),
            detail(0, text="m"),
            detail(0, signature="s", text=""),
            detail(1, text="So"),
            chunk(tool_calls=[call(NAME)]),
            chunk("tool_calls"),
            DONE,
        ),
        HI,
    ]

    assert answered(execution("openai/m", structures=(tool.as_structure,)).run())
    assert script.requests[1]["messages"][-2]["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "format": "f", "text": "Hm", "signature": "s"},
        {"type": "reasoning.text", "index": 1, "format": "f", "text": "So"},
    ]


HALVES = ("\ud83d", "\ude00")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
def test_halves_of_a_character_in_thoughts_do_not_break_what_goes_back(
    script, execution, tool, provider
) -> None:
    one, two = HALVES
    thinking = (
        {"type": "thinking", "thinking": "", "signature": "s"},
        *({"type": "thinking_delta", "thinking": half} for half in HALVES),
    )
    tool_call = {"id": "c1", "function": {"name": NAME, "arguments": '{"args": ["x"]}'}}
    script.replies = {
        "openai": [
            events(
                chunk(reasoning_content=one),
                chunk(reasoning_content=two),
                chunk(tool_calls=[call(NAME)]),
                chunk("tool_calls"),
                DONE,
            ),
            HI,
        ],
        "anthropic": [message(thinking, USE, stop="tool_use"), message(TEXT)],
        "google": [
            events(
                candidate(
                    {"text": one, "thought": True},
                    {"text": two, "thought": True},
                    {"functionCall": {"name": NAME, "args": {"args": ["x"]}}},
                )
            ),
            events(candidate({"text": "Hi there"})),
        ],
        "cohere": [
            cohere(
                *(piece("content-delta", content={"thinking": half}) for half in HALVES),
                piece("tool-call-start", tool_calls=tool_call),
            ),
            cohere(piece("content-delta", content=[{"type": "text", "text": "Hi there"}])),
        ],
        "ollama": [
            Reply(
                [
                    f"{json.dumps({'message': each, 'done': 'tool_calls' in each})}\n"
                    for each in ({"thinking": one}, {"thinking": two}, {"tool_calls": [tool_call]})
                ]
            ),
            ollama({"content": "Hi there"}),
        ],
        "amazon-bedrock": [
            bedrock(
                {"reasoningContent": {"text": one}},
                {"toolUse": {"toolUseId": "t1", "name": NAME}},
                {"toolUse": {"input": '{"args": ["x"]}'}},
                stop="tool_use",
            ),
            bedrock({"text": "Hi there"}),
        ],
    }[provider]

    executed = execution(f"{provider}/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]
    assert isinstance(executed.outcome, Succeeded)
