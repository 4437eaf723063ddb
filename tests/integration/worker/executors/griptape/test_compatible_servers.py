"""Servers that speak a provider's protocol in a way of their own."""

import gzip
import json
import re
import threading
import time
from http import HTTPStatus
from itertools import pairwise

import pytest

from shared.lifecycle import Reason
from tests.integration.worker.executors.griptape.test_chunks import (
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
from tests.support.llm_script import DONE, Reply, call, called, chunk, events, named_events, refusal, said
from worker.executors.base import REASONING_CHUNK, Failed, InvalidConfigurationError, Rule, Ruleset, Succeeded
from worker.executors.griptape import endpoint, model_driver, refused_parameters
from worker.executors.griptape.providers import answer as answer_so_far
from worker.executors.griptape.providers import frames as framing

HI = said("Hi ", "there")
JSON = {"Content-Type": "application/json"}
PATIENT = {"model_attempts": None}


@pytest.fixture(autouse=True)
def _nothing_is_known():
    refused_parameters.forget()
    yield
    refused_parameters.forget()


def thoughts(executed) -> str:
    return "".join(event.payload["token"] for event in executed.events if event.type == REASONING_CHUNK)


# --- Framing


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


# --- Errors in an answer's place


@pytest.mark.parametrize(
    ("provider", "reply", "words"),
    [
        (
            "openai",
            Reply(['error: {"code": 400, "message": "it is bad"}\n\n']),
            "refused the request: it is bad",
        ),
        (
            "openai",
            Reply(["upstream connect error, reset reason: overflow"]),
            "no answer: upstream connect error",
        ),
        (
            "openai",
            Reply(["<!DOCTYPE html>\n<html><head><title>Sign in &amp; go</title>"]),
            "no answer: Sign in & go",
        ),
        ("openai", Reply(["<html>\n<body>\n<h1>502 Bad Gateway</h1>"], 502), "(status 502): 502 Bad Gateway"),
        ("openai", Reply(["<html></html>"], 502), "(status 502): Bad Gateway"),
        (
            "cohere",
            Reply(["<html>\n<title>504 Gateway Time-out</title>"], 504),
            "(status 504): 504 Gateway Time-out",
        ),
        (
            "openai",
            Reply(['{"choices": null, "base_resp": {"status_code": 1004, "status_msg": "no key"}}']),
            "no key",
        ),
        ("openai", Reply(['{"code": 1210, "msg": "bad parameter", "success": false}']), "bad parameter"),
        ("anthropic", Reply(['{"detail": "Not authenticated"}']), "Not authenticated"),
        ("anthropic", events({"detail": "Not authenticated"}, DONE), "Not authenticated"),
        ("openai", events({"msg": "Not authenticated"}, DONE), "Not authenticated"),
        ("anthropic", Reply(['{"code": 500, "msg": "404 NOT_FOUND", "success": false}']), "404 NOT_FOUND"),
        ("google", Reply(['{"message": "no route"}']), "no route"),
        ("ollama", Reply(['{"detail": "not here"}']), "not here"),
        ("ollama", Reply(['{"message": "not here"}']), "not here"),
        ("cohere", Reply(['{"message": "not here"}']), "not here"),
        ("openai", Reply(["data: [[[[[[" + "[" * 100_000 + "\n\n"]), "cannot be read"),
        ("openai", Reply(['{"a":' * 100_000]), "cannot be read"),
        ("openai", Reply([]), "sent an empty answer"),
        ("openai", Reply([": ping\n\n"] * 9), "sent an empty answer"),
        ("openai", Reply(status=204), "sent an empty answer"),
        ("anthropic", Reply([]), "sent an empty answer"),
        ("google", Reply([]), "sent an empty answer"),
        ("ollama", Reply(["\n\n"]), "sent an empty answer"),
    ],
    ids=range(24),
)
def test_what_comes_instead_of_an_answer_is_told_in_a_sentence(
    script, execution, provider, reply, words
) -> None:
    script.replies = [reply]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert words in outcome.message
    assert "\n" not in outcome.message
    assert len(outcome.message) < 600


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("charset", "text"),
    [("latin-1", "zu groß"), ("shift_jis", "だめ"), ("nonsense", "no"), ("idna", "no"), ("undefined", "no")],
)
def test_a_refusal_may_be_in_any_encoding(script, execution, provider, charset, text) -> None:
    encoding = charset if charset in {"latin-1", "shift_jis"} else "utf-8"
    body = json.dumps({"error": {"message": text}}, ensure_ascii=False).encode(encoding)
    script.replies = [Reply([body], 400, {"Content-Type": f"application/json; charset={charset}"})]

    assert text in execution(f"{provider}/m").run().outcome.message


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("openai", events({"code": "DataInspectionFailed", "message": "It is inappropriate content."})),
        ("openai", refusal(400, {"error": {"code": "data_inspection_failed", "message": "It is not."}})),
        ("openai", refusal(403, {"error": "It is so. Content violates usage guidelines."})),
        ("openai", refusal(400, {"error": {"message": "It was rejected: considered high risk"}})),
        ("openai", refusal(400, {"error": {"message": "It failed: ContentPolicyViolationError"}})),
        ("openai", refusal(400, {"error": {"message": "It was flagged as violating our usage policy."}})),
        ("azure-openai", events({"error": {"message": "It is.", "code": "content_filter", "status": 400}})),
        ("anthropic", refusal(400, {"error": {"message": "It is blocked by content filtering policy"}})),
        (
            "anthropic",
            named_events({"type": "error", "error": {"message": "It is blocked by content filter"}}),
        ),
        ("google", events({"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "It is."}})),
    ],
    ids=range(10),
)
def test_a_filters_words_are_a_refusal_wherever_they_are(script, execution, provider, reply) -> None:
    script.replies = [reply]

    outcome = execution(f"{provider}/m", options=PATIENT).run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_REFUSED
    assert "It " in outcome.message
    assert len(script.requests) == 1


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_refusal_without_end_is_read_as_far_as_it_may_tell_anything(
    script, execution, provider, encoding
) -> None:
    body = b"It is so. " * 3_000_000
    headers = {"Content-Encoding": encoding} if encoding else {}
    script.replies = [Reply([gzip.compress(body, 1) if encoding else body], 400, headers)]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert "(status 400): It is so." in outcome.message
    assert len(outcome.message) < 600


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
@pytest.mark.parametrize(
    ("status", "verdict"), [(200, "cannot be read."), (400, "(status 400): Bad Request")]
)
def test_what_is_compressed_twice_is_not_read(script, execution, provider, status, verdict) -> None:
    bomb = gzip.compress(gzip.compress(b'{"message": "It is so."}' + b" " * 32_000_000))
    script.replies = [Reply([bomb], status, {"Content-Encoding": "gzip, gzip"})]

    assert execution(f"{provider}/m").run().outcome.message.endswith(verdict)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
@pytest.mark.parametrize("encoding", [None, "gzip"], ids=["cut", "not what it claims to be"])
def test_a_refusal_whose_body_breaks_counts_by_its_status(script, execution, provider, encoding) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    script.replies = [Reply(['{"message": "It is so."'], 401, headers, ends=encoding is not None)]

    outcome = execution(f"{provider}/m", options=PATIENT).run().outcome

    assert isinstance(outcome, InvalidConfigurationError), outcome
    assert "refuses the key it was called with (status 401): " in str(outcome)
    assert len(script.requests) == 1


@pytest.mark.parametrize("provider", ["openai", "cohere"])  # of either HTTP client
@pytest.mark.parametrize("after", ["", " "], ids=["hangs", "drips"])
def test_a_refusal_whose_body_does_not_end_is_not_waited_for(
    script, execution, monkeypatch, provider, after
) -> None:
    monkeypatch.setattr(endpoint, "REFUSAL_TIMEOUT", 0.3)
    left = threading.Event()

    def forever():
        yield '{"message": "It is so."}'
        while not left.wait(0.05):
            yield after

    script.replies = [Reply(forever(), 401)]
    executed = execution(f"{provider}/m").start()
    try:
        has_ended = executed.has_ended(within=20)
    finally:
        left.set()

    assert has_ended
    assert "(status 401): It is so." in str(executed.outcome)


@pytest.mark.parametrize(
    ("provider", "told"),
    [
        ("anthropic", "4"),
        ("google", "4"),
        ("openai", "violat"),
        ("openai", "invalid"),
        ("openai", "parameter" + 100 * " "),
        ("openai", "<title"),
    ],
)
@pytest.mark.parametrize("status", [400, 200])
def test_a_refusal_that_is_made_to_be_looked_at_for_long_is_not(
    script, execution, provider, told, status
) -> None:
    words = told * ((60_000 if status == HTTPStatus.BAD_REQUEST else 3_000_000) // len(told))
    body = {"error": {"code": 400, "message": words, "details": [{"retryDelay": words}]}}
    script.replies = [refusal(status, body)]
    begun = time.process_time()

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert "refused the request" in outcome.message
    assert time.process_time() - begun < 5


def test_a_page_that_is_made_to_be_looked_at_for_long_is_not(script, execution) -> None:
    script.replies = [Reply(["<title" * 1_000_000])]
    begun = time.process_time()

    assert "cannot be read" in execution("openai/m").run().outcome.message
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", {"error": {"code": "4" * 5_000, "message": "It is so."}}),
        ("anthropic", {"error": {"type": "4" * 5_000, "message": "It is so."}}),
        ("anthropic", {"error": {"message": f"It is so. max_tokens: 9 > {'4' * 5_000}"}}),
        ("anthropic", {"error": {"message": f"It is so. 9 + 9 > {'4' * 5_000}"}}),
    ],
)
@pytest.mark.parametrize("status", [400, 200])
def test_a_number_that_is_none_does_not_hide_a_refusal(script, execution, provider, body, status) -> None:
    script.replies = [refusal(status, body)]

    assert ": It is so." in execution(f"{provider}/m").run().outcome.message


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
@pytest.mark.parametrize("levels", [900, 9_000])
@pytest.mark.parametrize(
    ("begin", "end"), [('{"error":', "}"), ('{"message": "It is so.", "a":', "}"), ("[", "]")]
)
def test_a_refusal_may_be_nested_deeply(script, execution, provider, levels, begin, end) -> None:
    script.replies = [Reply([begin * levels + "5" + end * levels], 401, JSON)]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, InvalidConfigurationError), outcome
    assert f"(status 401): {begin}{begin}"[:30] in str(outcome)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
@pytest.mark.parametrize("levels", [900, 9_000])
def test_an_error_within_an_answer_may_be_nested_deeply(script, execution, provider, levels) -> None:
    script.replies = [Reply(['{"error":' * levels + "5" + "}" * levels])]

    assert "cannot be read" in execution(f"{provider}/m").run().outcome.message


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


# --- Thoughts in the text of an answer


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


# --- What is not the model's call, and how calls are named


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


# --- Slips of a model that its server tells of


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


# --- Parts of a conversation that a model does not take


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


# --- What goes back


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
