"""What providers stream, as the field sends it: every answer and every call arrives."""

import json

import pytest

from tests.integration.worker.executors.griptape.frames import (
    HI,
    NAME,
    SIGNED,
    TEXT,
    THINKING,
    THOUGHT,
    USE,
    answered,
    bedrock,
    candidate,
    cohere,
    message,
    ollama,
    piece,
)
from tests.support import llm_script as wire
from tests.support.llm_script import DONE, call, called, chunk, events, named_events, said
from worker.executors.base import REASONING_CHUNK

FUNCTION = {"name": NAME, "arguments": '{"args": ["x"]}'}


ANNOTATION = {"choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}}]}


@pytest.mark.parametrize(
    "odd",
    [
        ANNOTATION,
        {"choices": []},
        {"choices": None},
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "another"}, "finish_reason": None}]},
        {},
        "data: null\n\n",
        ": ping\n\n",
        "event: ping\n\n",
        chunk(role="assistant", content=None, tool_calls=[]),
        chunk(content=None, tool_calls=None, function_call=None),
        chunk(content=[]),
        chunk(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
        chunk(tool_calls=[{}, None]),
        chunk(tool_calls=[{"index": 0, "id": None, "function": None}]),
        chunk(tool_calls=[{"index": [], "function": {"name": None, "arguments": None}}]),
        chunk(reasoning_content="Hm"),
        chunk(reasoning="Hm", reasoning_details=[{"type": "reasoning.text", "text": "Hm"}]),
    ],
    ids=str,
)
@pytest.mark.parametrize("provider", ["openai", "azure-openai"])
def test_a_chunk_that_says_nothing_of_the_answer_does_not_break_it(script, execution, provider, odd) -> None:
    script.replies = [
        events(odd, chunk(content="Hi "), odd, chunk(content="there"), odd, chunk("stop"), odd, DONE)
    ]

    executed = execution(f"{provider}/m").run()

    assert answered(executed), executed.outcome
    assert executed.text == "Hi there"


@pytest.mark.parametrize(
    "reply",
    [
        events(chunk(content=[{"type": "text", "text": "Hi there"}]), chunk("stop"), DONE),
        events({"choices": [{"index": 0, "message": {"content": "Hi there"}, "finish_reason": "stop"}]}),
        events({"choices": [{"index": 0, "text": "Hi there", "finish_reason": "stop"}]}, DONE),
        wire.Reply(
            [json.dumps({"choices": [{"message": {"content": "Hi there"}, "finish_reason": "stop"}]})]
        ),
        said("Hi ", "there", finish=None),  # and nothing but [DONE]
        wire.Reply(said("Hi ", "there").frames[:-1], ends=False),  # cut off after the reason to finish
        wire.Reply(said("Hi ", "there").frames, ends=False),
        wire.Reply(["\ufeff", *said("Hi ", "there").frames]),
        said("Hi ", "there", finish="eos_token"),
        events(
            chunk(content="Hi there"),
            {"choices": [{"delta": {}, "message": {"content": "Hi there"}, "finish_reason": "stop"}]},
            DONE,
        ),
    ],
    ids=range(10),
)
def test_an_answer_may_come_in_other_shapes(script, execution, reply) -> None:
    script.replies = [reply]

    executed = execution("openai/m").run()

    assert answered(executed), executed.outcome


def test_a_character_in_two_halves_is_one(script, execution) -> None:
    script.replies = [said("\ud83d", "\ude00 ok")]

    assert execution("openai/m").run().output == "\U0001f600 ok"


ONE_CALL = {
    "empty content beside it": called(call(NAME), content=""),
    "null content beside it": called(call(NAME), content=None, role="assistant"),
    "text beside it": called(call(NAME), content="Let me see. "),
    "text before it": events(
        chunk(content="Let me see. "), chunk(tool_calls=[call(NAME)]), chunk("tool_calls"), DONE
    ),
    "empty content after it": events(
        chunk(tool_calls=[call(NAME)]), chunk("tool_calls", role="assistant", content=""), DONE
    ),
    "no index": called({"id": "c1", "function": FUNCTION}),
    "no identifier": called({"index": 0, "type": "function", "function": FUNCTION}),
    "an empty identifier": called(call(NAME, id="")),
    "identifiers wiped by empty ones": events(
        chunk(tool_calls=[call(NAME, "")]),
        chunk(tool_calls=[{"index": 0, "id": "", "function": {"name": "", "arguments": '{"args": ["x"]}'}}]),
        chunk("tool_calls"),
        DONE,
    ),
    "a name in pieces": events(
        chunk(tool_calls=[call("Sample_run", "")]),
        chunk(tool_calls=[{"index": 0, "function": {"name": "_structure", "arguments": '{"args": ["x"]}'}}]),
        chunk("tool_calls"),
        DONE,
    ),
    "the old dialect": events(chunk(content=None, function_call=FUNCTION), chunk("function_call"), DONE),
    "the old dialect in pieces": events(
        chunk(function_call={"name": NAME, "arguments": '{"args"'}),
        chunk(function_call={"arguments": ': ["x"]}'}),
        chunk("function_call"),
        DONE,
    ),
    "arguments that are no text": called(call(NAME, {"args": ["x"]})),
    "stop as its reason": called(call(NAME), finish="stop"),
    "an object for the list": events(chunk(tool_calls=call(NAME)), chunk("tool_calls"), DONE),
    "both forms at once": events(
        chunk(tool_calls=[call(NAME)], function_call=FUNCTION), chunk("tool_calls"), DONE
    ),
    "said again at the end": events(
        chunk(tool_calls=[call(NAME)]), chunk("tool_calls", tool_calls=[call(NAME)]), DONE
    ),
    "a document": wire.Reply(
        [
            json.dumps(
                {
                    "choices": [
                        {
                            "message": {"content": None, "tool_calls": [call(NAME)]},
                            "finish_reason": "tool_calls",
                        }
                    ]
                }
            )
        ]
    ),
}


@pytest.mark.parametrize("kind", ONE_CALL)
def test_a_call_is_made_once(script, execution, tool, kind) -> None:
    script.replies = [ONE_CALL[kind], HI]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]
    *_, calling, result = script.requests[1]["messages"]
    assert calling["role"] == "assistant"
    assert calling["content"] is None or isinstance(calling["content"], str)
    assert result["role"] == "tool"
    assert result["tool_call_id"] == calling["tool_calls"][0]["id"] != ""


TWO_CALLS = {
    "in one chunk": called(call(NAME), call(NAME, index=1, id="c2")),
    "in two chunks, without an index": events(
        chunk(tool_calls=[{"id": "c1", "function": FUNCTION}]),
        chunk(tool_calls=[{"id": "c2", "function": FUNCTION}]),
        chunk("tool_calls"),
        DONE,
    ),
    "without identifiers": called(call(NAME, id=""), call(NAME, index=1, id="")),
    "all at the same index": called(call(NAME), call(NAME, id="c2")),
    "with nothing to tell them apart": called({"function": FUNCTION}, {"function": FUNCTION}),
    "with one identifier": called(call(NAME), call(NAME, index=1)),
}


@pytest.mark.parametrize("kind", TWO_CALLS)
def test_two_calls_are_both_made(script, execution, tool, kind) -> None:
    script.replies = [TWO_CALLS[kind], HI]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"], ["x"]]
    *_, calling, first, second = script.requests[1]["messages"]
    ids = [each["id"] for each in calling["tool_calls"]]
    assert len(set(ids)) == 2
    assert [first["tool_call_id"], second["tool_call_id"]] == ids


def test_the_events_of_a_call_are_whole(script, execution, tool) -> None:
    script.replies = [ONE_CALL["no index"], HI]

    executed = execution("openai/m", structures=(tool.as_structure,)).run()

    [told] = [event.payload for event in executed.events if event.type == "ActionChunkEvent"]
    assert (told["tag"], told["name"], told["path"]) == ("c1", "Sample", "run_structure")
    assert told["index"] == 1
    assert json.loads(told["partial_input"]) == {"args": ["x"]}


# --- Anthropic


@pytest.mark.parametrize(
    "before",
    [(THINKING, SIGNED), THOUGHT, ({"type": "redacted_thinking", "data": "x"},), ({"type": "newer_block"},)],
    ids=["signature", "thought", "redacted", "unknown"],
)
@pytest.mark.parametrize("usage", [True, False])
def test_claude_may_think_before_it_answers(script, execution, before, usage) -> None:
    script.replies = [message(before, TEXT, usage=usage)]

    executed = execution("anthropic/claude-sonnet-5").run()

    assert answered(executed), executed.outcome
    assert executed.text == "Hi there"


def test_what_claude_thought_goes_back_with_its_calls(script, execution, tool) -> None:
    script.replies = [message(THOUGHT, TEXT, USE, stop="tool_use"), message(TEXT)]

    executed = execution("anthropic/claude-sonnet-5", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]
    [_, calling, result] = script.requests[1]["messages"]
    assert calling["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "text", "text": "Hi there"},
        {"type": "tool_use", "id": "toolu_1", "name": NAME, "input": {"args": ["x"]}},
    ]
    assert result["content"][0]["tool_use_id"] == "toolu_1"


# --- Gemini


ASKED = {"functionCall": {"name": NAME, "args": {"args": ["x"]}}}


@pytest.mark.parametrize(
    "frames",
    [
        (candidate({"text": "Hi "}, {"text": "there"}),),
        (candidate({"text": "Hm", "thought": True}, {"text": "Hi there"}),),
        (candidate({"text": "Hi there"}, {"text": "", "thoughtSignature": "YWJj"}),),
        (candidate({"text": "Hi there"}, finish=None), {"candidates": [{"finishReason": "STOP"}]}),
        (candidate({"text": "Hi there"}), {"usageMetadata": {"promptTokenCount": 1}}),
    ],
    ids=range(5),
)
def test_gemini_may_answer_in_parts(script, execution, frames) -> None:
    script.replies = [events(*frames)]

    executed = execution("google/gemini-3-pro").run()

    assert answered(executed), executed.outcome


@pytest.mark.parametrize(
    ("frames", "count"),
    [
        ((candidate(ASKED),), 1),
        ((candidate({"text": "Let me see."}, ASKED),), 1),
        ((candidate(ASKED, ASKED),), 2),
        ((candidate(ASKED, finish=None), candidate(ASKED)), 2),
        ((candidate({"text": "Hm", "thought": True}, ASKED, finish=None), candidate({"text": ""})), 1),
    ],
    ids=range(5),
)
def test_gemini_may_call_in_parts_and_gets_them_back_as_they_came(
    script, execution, tool, frames, count
) -> None:
    signed = json.loads(
        json.dumps(frames).replace('{"functionCall"', '{"thoughtSignature": "YWJj", "functionCall"')
    )
    script.replies = [events(*signed), events(candidate({"text": "Hi there"}))]

    executed = execution("google/gemini-3-pro", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]] * count
    [_, calling, result] = script.requests[1]["contents"]
    sent = [part for part in calling["parts"] if "functionCall" in part]
    assert sent == [{**ASKED, "thoughtSignature": "YWJj"}] * count
    assert [part["functionResponse"]["name"] for part in result["parts"]] == [NAME] * count


# --- Cohere, Ollama, Bedrock


COHERE_HI = cohere(
    piece("content-start", content={"type": "text", "text": ""}),
    piece("content-delta", content={"text": "Hi there"}),
)


def test_cohere_may_think_before_it_answers(script, execution) -> None:
    script.replies = [
        cohere(
            piece("content-start", content={"type": "thinking", "thinking": "H"}),
            piece("content-delta", content={"thinking": "m"}),
            piece("content-end"),
            piece("content-delta", 1, content={"text": "Hi there"}),
            {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"text": "Hi"}}}},
        )
    ]

    assert answered(execution("cohere/command-a").run())


@pytest.mark.parametrize("count", [1, 2])
def test_coheres_calls_are_made(script, execution, tool, count) -> None:
    calls = [
        part
        for n in range(count)
        for part in (
            piece(
                "tool-call-start", n, tool_calls={"id": f"c{n}", "function": {"name": NAME, "arguments": ""}}
            ),
            piece("tool-call-delta", n, tool_calls={"function": {"arguments": '{"args": ["x"]}'}}),
            piece("tool-call-end", n),
        )
    ]
    script.replies = [cohere(piece("tool-plan-delta", tool_plan="I will."), *calls), COHERE_HI]

    executed = execution("cohere/command-a", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]] * count
    [_, _, calling, *results] = script.requests[1]["messages"]
    assert calling["tool_plan"] == "I will."
    assert [each["id"] for each in calling["tool_calls"]] == [each["tool_call_id"] for each in results]


OLLAMA_CALL = {"function": {"name": NAME, "arguments": {"args": ["x"]}}}


@pytest.mark.parametrize(
    ("messages", "count"),
    [
        ([{"content": "", "tool_calls": [OLLAMA_CALL]}], 1),
        ([{"content": "Let me see. ", "tool_calls": [OLLAMA_CALL]}], 1),
        ([{"content": "", "tool_calls": [OLLAMA_CALL, OLLAMA_CALL]}], 2),
        (
            [{"content": "", "thinking": "Hm"}, {"tool_calls": [OLLAMA_CALL]}, {"tool_calls": [OLLAMA_CALL]}],
            2,
        ),
    ],
    ids=range(4),
)
def test_ollamas_calls_are_made(script, execution, tool, messages, count) -> None:
    script.replies = [ollama(*messages), ollama({"content": "Hi there"})]

    executed = execution("ollama/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]] * count


def test_ollamas_lines_end_only_where_json_ends(script, execution) -> None:
    script.replies = [ollama({"content": "a\x85b\u2028c"})]

    assert execution("ollama/m").run().output == "a\x85b\u2028c"


def test_bedrock_may_think_and_gets_it_back(script, execution, tool) -> None:
    script.replies = [
        bedrock(
            {"reasoningContent": {"text": "Hm"}},
            {"toolUse": {"toolUseId": "t1", "name": NAME}},
            {"toolUse": {"input": '{"args": ["x"]}'}},
            stop="tool_use",
        ),
        bedrock({"text": "Hi there"}),
    ]

    executed = execution("amazon-bedrock/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]
    thought, used = script.requests[1]["messages"][1]["content"]
    assert thought["reasoningContent"]["reasoningText"]["text"] == "Hm"
    assert used["toolUse"]["toolUseId"] == "t1"


DOCUMENTS = {
    "openai": {"choices": [{"message": {"content": "Hi there"}, "finish_reason": "stop"}]},
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "Hi there"}],
        "stop_reason": "end_turn",
    },
    "google": [candidate({"text": "Hi "}, finish=None), candidate({"text": "there"})],
    "cohere": {"message": {"content": [{"type": "text", "text": "Hi there"}]}, "finish_reason": "COMPLETE"},
    "ollama": {"message": {"content": "Hi there"}, "done": True},
}


@pytest.mark.parametrize("provider", DOCUMENTS)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_is_an_answer_where_a_stream_was_asked_for(script, execution, provider, indent) -> None:
    script.replies = [
        wire.Reply(
            [json.dumps(DOCUMENTS[provider], indent=indent)], headers={"Content-Type": "application/json"}
        )
    ]

    executed = execution(f"{provider}/m").run()

    assert answered(executed), executed.outcome
    assert executed.text == "Hi there"


@pytest.mark.parametrize("provider", DOCUMENTS)
def test_an_error_is_one_where_an_answer_was_promised(script, execution, provider) -> None:
    script.replies = [wire.Reply(['{"error": {"message": "It will not do.", "code": 400}}'])]

    outcome = execution(f"{provider}/m").run().outcome

    assert outcome.message == f"{provider}/m refused the request: It will not do."


def test_claude_may_say_its_arguments_at_once(script, execution, tool) -> None:
    whole = ({"type": "tool_use", "id": "toolu_1", "name": NAME, "input": {"args": ["x"]}},)
    script.replies = [message(whole, stop="tool_use"), message(TEXT)]

    executed = execution("anthropic/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]


@pytest.mark.parametrize("provider", ["anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
def test_a_slip_is_told_to_every_model(script, execution, tool, provider) -> None:
    """A call of a tool that does not exist, and what goes back to each of them."""
    other = "get_weather"
    calling, good = {
        "anthropic": (message(({**USE[0], "name": other},), stop="tool_use"), message(TEXT)),
        "google": (
            events(candidate({"functionCall": {"name": other, "args": {}}})),
            events(candidate({"text": "Hi there"})),
        ),
        "cohere": (
            cohere(
                piece(
                    "tool-call-start", tool_calls={"id": "c1", "function": {"name": other, "arguments": ""}}
                )
            ),
            COHERE_HI,
        ),
        "ollama": (
            ollama({"tool_calls": [{"function": {"name": other, "arguments": {}}}]}),
            ollama({"content": "Hi there"}),
        ),
        "amazon-bedrock": (
            bedrock({"toolUse": {"toolUseId": "t1", "name": other}}, stop="tool_use"),
            bedrock({"text": "Hi there"}),
        ),
    }[provider]
    script.replies = [calling, good]

    executed = execution(f"{provider}/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == []
    assert "There is no tool 'get_weather'" in json.dumps(script.requests[1])


# --- What goes back


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_a_model_reasoned_goes_back_with_its_calls(script, execution, tool, name) -> None:
    script.replies = [
        events(
            chunk(**{name: "H"}),
            chunk(**{name: "m"}),
            chunk(tool_calls=[call(NAME)]),
            chunk("tool_calls"),
            DONE,
        ),
        HI,
    ]

    executed = execution("openai/deepseek-reasoner", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert script.requests[1]["messages"][2][name] == "Hm"


def test_the_signature_of_a_call_goes_back_with_it(script, execution, tool) -> None:
    signature = {"google": {"thought_signature": "YWJj"}}
    script.replies = [called(call(NAME, extra_content=signature)), HI]

    assert answered(execution("openai/gemini-3-pro", structures=(tool.as_structure,)).run())
    assert script.requests[1]["messages"][2]["tool_calls"][0]["extra_content"] == signature


def test_a_server_that_refuses_what_it_has_reasoned_does_not_get_it(script, execution, tool) -> None:
    def picky(request):
        sent = any("reasoning_content" in message for message in request["messages"])
        body = {"detail": [{"loc": ["body", "messages", 1, "reasoning_content"], "msg": "Extra inputs"}]}
        return wire.refusal(422, body) if sent else None

    script.answering = picky
    script.replies = [called(call(NAME), reasoning_content="Hm"), HI]

    assert answered(execution("openai/m", structures=(tool.as_structure,)).run())


def test_long_thoughts_are_few_events(script, execution) -> None:
    script.replies = [
        events(*[chunk(reasoning_content="abcd ")] * 1_000, chunk(content="Hi there"), chunk("stop"), DONE)
    ]

    executed = execution("openai/m").run()

    thoughts = [event.payload["token"] for event in executed.events if event.type == REASONING_CHUNK]
    assert "".join(thoughts) == "abcd " * 1_000
    assert len(thoughts) == 10


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_are_events_of_their_own_for_those_who_stream(script, execution, stream) -> None:
    script.replies = [events(chunk(reasoning_content="Hm"), chunk(content="Hi there"), chunk("stop"), DONE)]

    executed = execution("openai/m", stream=stream).run()

    thoughts = [event.payload["token"] for event in executed.events if event.type == REASONING_CHUNK]
    assert thoughts == (["Hm"] if stream else [])
    assert answered(executed)


def test_thoughts_of_a_call_that_broke_off_are_told_to_be_thought_again(script, execution) -> None:
    thinks = chunk(reasoning_content="Hm" * 300)
    broken = events(thinks, chunk(reasoning_content="and"))
    script.replies = [broken, events(thinks, chunk(content="Hi there"), chunk("stop"), DONE)]

    executed = execution("openai/m", options={"model_attempts": 2}).run()

    thoughts = [event.payload for event in executed.events if event.type == REASONING_CHUNK]
    assert [(one["token"], one.get("reset", False)) for one in thoughts] == [
        ("Hm" * 300, False),
        ("and", False),
        ("Hm" * 300, True),
    ]
    assert answered(executed)


# --- The same of every provider


CALL_DOCUMENTS = {
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "Let me see."}, {**USE[0], "input": {"args": ["x"]}}],
        "stop_reason": "tool_use",
    },
    "google": candidate({"text": "Let me see."}, ASKED),
    "cohere": {
        "message": {"tool_plan": "I will.", "tool_calls": [{"id": "c1", "function": FUNCTION}]},
        "finish_reason": "TOOL_CALL",
    },
    "ollama": {"message": {"content": "Let me see.", "tool_calls": [OLLAMA_CALL]}, "done": True},
}


@pytest.mark.parametrize("provider", CALL_DOCUMENTS)
def test_a_document_may_hold_a_call(script, execution, tool, provider) -> None:
    good = wire.Reply([json.dumps(DOCUMENTS[provider])])
    script.replies = [wire.Reply([json.dumps(CALL_DOCUMENTS[provider])]), good]

    executed = execution(f"{provider}/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"]]


def use(index, call_id, *pieces):
    """A call of Claude's, at an index of its own or none."""
    place = {} if index is None else {"index": index}
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return [
        {"type": "content_block_start", **place, "content_block": {**USE[0], "id": call_id}},
        *({"type": "content_block_delta", **place, "delta": delta} for delta in deltas),
    ]


def cohere_call(index, call_id):
    start = piece("tool-call-start", index, tool_calls={"id": call_id, "function": {"name": NAME}})
    more = piece("tool-call-delta", index, tool_calls={"function": {"arguments": '{"args": ["x"]}'}})
    return [{key: value for key, value in each.items() if each["index"] is not None or key != "index"}
            for each in (start, more)]  # fmt: skip


def claude_calls(*frames):
    return named_events({"type": "message_start", "message": {}}, *frames, {"type": "message_stop"})


WHOLE = '{"args": ["x"]}'
TWICE = {
    "claude, at one index": ("anthropic", claude_calls(*use(0, "a", WHOLE), *use(0, "b", WHOLE))),
    "claude, without an index": ("anthropic", claude_calls(*use(None, "a", WHOLE), *use(None, "b", WHOLE))),
    "claude, with one identifier": ("anthropic", claude_calls(*use(0, "a", WHOLE), *use(1, "a", WHOLE))),
    "claude, without identifiers": ("anthropic", claude_calls(*use(0, "", WHOLE), *use(1, None, WHOLE))),
    "claude, one beside the other": (
        "anthropic",
        claude_calls(*use(0, "a"), *use(1, "b", '{"args":'), use(0, "", WHOLE)[1], use(1, "", ' ["x"]}')[1]),
    ),
    "cohere, at one index": ("cohere", cohere(*cohere_call(0, "a"), *cohere_call(0, "b"))),
    "cohere, without an index": ("cohere", cohere(*cohere_call(None, "a"), *cohere_call(None, "b"))),
    "cohere, with one identifier": ("cohere", cohere(*cohere_call(0, "a"), *cohere_call(1, "a"))),
    "cohere, without identifiers": ("cohere", cohere(*cohere_call(0, ""), *cohere_call(1, None))),
    "ollama, with one identifier": (
        "ollama",
        ollama({"tool_calls": [{"id": "a", **OLLAMA_CALL}]}, {"tool_calls": [{"id": "a", **OLLAMA_CALL}]}),
    ),
    "gemini, with one identifier": (
        "google",
        events(candidate(*[{"functionCall": {"id": "a", **ASKED["functionCall"]}}] * 2)),
    ),
}


@pytest.mark.parametrize("kind", TWICE)
def test_two_calls_of_any_provider_are_both_made(script, execution, tool, kind) -> None:
    provider, calling = TWICE[kind]
    script.replies = [calling, wire.Reply([json.dumps(DOCUMENTS[provider])])]

    executed = execution(f"{provider}/m", structures=(tool.as_structure,)).run()

    assert answered(executed), executed.outcome
    assert tool.calls == [["x"], ["x"]]


@pytest.mark.parametrize("blank", ["", "\n"])
def test_claudes_blank_words_do_not_go_back(script, execution, tool, blank) -> None:
    words = ({"type": "text", "text": ""}, {"type": "text_delta", "text": blank})
    script.replies = [message(THOUGHT, words, USE, stop="tool_use"), message(TEXT)]

    assert answered(execution("anthropic/m", structures=(tool.as_structure,)).run())
    assert [block["type"] for block in script.requests[1]["messages"][1]["content"]] == [
        "thinking",
        "tool_use",
    ]


@pytest.mark.parametrize(
    "frames",
    [
        [
            {"choices": [{"message": {"content": "Hi "}, "delta": {"content": "Hi "}}]},
            {"choices": [{"message": {"content": "Hi there"}, "delta": {"content": "there"}}]},
            {"choices": [{"message": {"content": "Hi there"}, "delta": {"content": ""}}]},
        ],
        [
            {"choices": [{"message": {"content": ""}, "delta": {"content": ""}}]},
            {"choices": [{"message": {"content": "Hi there"}, "delta": {"content": "Hi there"}}]},
        ],
    ],
)
def test_a_message_that_grows_beside_its_pieces_is_not_said_twice(script, execution, frames) -> None:
    script.replies = [events(*frames, chunk("stop"), DONE)]

    assert answered(execution("openai/sonar").run())
