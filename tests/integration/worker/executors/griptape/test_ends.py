"""How an answer ended, and what that makes of its run."""

import json

import pytest

from shared.lifecycle import Reason
from tests.support.llm_script import DONE, Reply, call, called, chunk, events, named_events, refusal, said
from worker.executors.base import Failed, Succeeded


def claude(text: str, stop: str) -> Reply:
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}]
    return named_events(
        {"type": "message_start", "message": {"usage": {"input_tokens": 1}}},
        *(deltas if text else []),
        {"type": "message_delta", "delta": {"stop_reason": stop}},
        {"type": "message_stop"},
    )


def gemini(text: str, finish: str) -> Reply:
    content = {"content": {"parts": [{"text": text}]}} if text else {}
    return events({"candidates": [{**content, "finishReason": finish}]})


def cohere(text: str, finish: str) -> Reply:
    delta = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}
    end = {"type": "message-end", "delta": {"finish_reason": finish}}
    return named_events(*([delta] if text else []), end)


def ollama(text: str, reason: str) -> Reply:
    frame = {"message": {"content": text}, "done": True, "done_reason": reason}
    return Reply([json.dumps(frame) + "\n"])


def openai(text: str, finish: str) -> Reply:
    return said(*filter(None, [text]), finish=finish)


CUT = [
    ("openai", openai, "length"),
    ("openai", openai, "abort"),
    ("openai", openai, "insufficient_system_resource"),
    ("azure-openai", openai, "length"),
    ("anthropic", claude, "max_tokens"),
    ("anthropic", claude, "model_context_window_exceeded"),
    ("google", gemini, "MAX_TOKENS"),
    ("cohere", cohere, "MAX_TOKENS"),
    ("ollama", ollama, "length"),
]


@pytest.mark.parametrize(("provider", "reply", "word"), CUT)
def test_an_answer_that_was_cut_says_so(script, execution, provider, reply, word) -> None:
    script.replies = [reply("The answer is", word)]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Succeeded), outcome
    assert outcome.output["value"] == "The answer is"
    assert outcome.detail["answer"] == "cut"


@pytest.mark.parametrize(("provider", "reply", "word"), CUT)
def test_an_answer_that_was_cut_before_it_began_is_none(script, execution, provider, reply, word) -> None:
    script.replies = [reply("", word)]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_FAILED
    assert word in outcome.message
    assert outcome.detail["answer"] == "cut"
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("provider", "reply", "word"),
    [
        ("openai", openai, "content_filter"),
        ("azure-openai", openai, "content_filter"),
        ("anthropic", claude, "refusal"),
        ("google", gemini, "SAFETY"),
        ("google", gemini, "PROHIBITED_CONTENT"),
        ("cohere", cohere, "ERROR_TOXIC"),
    ],
)
@pytest.mark.parametrize("text", ["", "I cannot"])
def test_an_answer_that_was_filtered_is_a_refusal(script, execution, provider, reply, word, text) -> None:
    script.replies = [reply(text, word)]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_REFUSED
    assert (text or word) in outcome.message
    assert len(script.requests) == 1


@pytest.mark.parametrize("finish", ["stop", "content_filter"])
def test_a_models_own_refusal_is_told_in_its_words(script, execution, finish) -> None:
    script.replies = [
        events(chunk(content=None, refusal="I cannot "), chunk(refusal="do that."), chunk(finish), DONE)
    ]

    outcome = execution("openai/m").run().outcome

    assert outcome.reason is Reason.MODEL_REFUSED
    assert outcome.message == "openai/m refused to answer: I cannot do that."


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": "content_filter", "message": "It is filtered.", "param": "prompt"}}),
        (400, {"error": {"code": None, "message": "It is filtered. Content Exists Risk"}}),
        (403, {"error": {"message": "It is filtered.", "metadata": {"reasons": ["was flagged"]}}}),
    ],
    ids=range(3),
)
def test_a_prompt_that_is_filtered_is_a_refusal(script, execution, status, body) -> None:
    script.replies = [refusal(status, body)]

    outcome = execution("azure-openai/m", options={"model_attempts": None}).run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_REFUSED
    assert "refused to answer: It is filtered." in outcome.message
    assert len(script.requests) == 1


def test_the_tokens_of_an_answer_that_is_none_are_counted(script, execution) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    script.replies = [events(chunk("content_filter"), usage, DONE)]

    executed = execution("openai/m").run()

    [told] = [event.payload for event in executed.events if event.type == "FinishPromptEvent"]
    assert (told["input_token_count"], told["output_token_count"]) == (3, 5)


@pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT", "OTHER"])
def test_a_prompt_that_is_blocked_is_asked_once(script, execution, reason) -> None:
    script.replies = [events({"promptFeedback": {"blockReason": reason}, "usageMetadata": {}})]

    outcome = execution("google/m", options={"model_attempts": None}).run().outcome

    assert outcome.reason is Reason.MODEL_REFUSED
    assert f"the prompt is blocked: {reason}" in outcome.message
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("provider", "reply"),
    [
        ("openai", openai("", "stop")),
        ("openai", events(chunk(reasoning_content="Hm"), chunk("stop"), DONE)),
        ("openai", events(DONE)),
        ("anthropic", claude("", "end_turn")),
        ("google", gemini("", "STOP")),
        ("cohere", cohere("", "COMPLETE")),
        ("ollama", ollama("", "stop")),
        ("openai", openai(" \n", "stop")),
    ],
    ids=range(8),
)
def test_an_answer_without_a_word_is_no_success(script, execution, provider, reply) -> None:
    script.replies = [reply]

    outcome = execution(f"{provider}/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_FAILED
    assert "without having said anything" in outcome.message


@pytest.mark.parametrize(
    ("provider", "reply"),
    [("openai", openai("", "error")), ("google", gemini("", "MALFORMED_FUNCTION_CALL"))],
)
def test_an_answer_that_broke_before_it_began_is_asked_for_again(script, execution, provider, reply) -> None:
    good = openai("Hi", "stop") if provider == "openai" else gemini("Hi", "STOP")
    script.replies = [reply, good]

    assert execution(f"{provider}/m", options={"model_attempts": None}).run().output == "Hi"


def test_an_answer_that_broke_amid_words_is_none(script, execution) -> None:
    script.replies = [openai("The answer", "error")]

    outcome = execution("openai/m", options={"model_attempts": None}).run().outcome

    assert outcome.reason is Reason.MODEL_FAILED
    assert "gave up its answer: error" in outcome.message
    assert len(script.requests) == 1


RAW = {"raw": '{"error": {"message": "too hot"}}', "provider_name": "Acme"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (events({"object": "error", "message": "prompt too long", "code": 400}), "prompt too long"),
        (events({"error": {"message": "no such thing"}}), "no such thing"),
        (events({"error": "no such thing"}), "no such thing"),
        (Reply(['{"error": "Unexpected endpoint"}']), "Unexpected endpoint"),
        (Reply(['event: error\ndata: {"message": "no such thing"}\n\n']), "no such thing"),
        (Reply(["event: error\ndata: no such thing\n\n"]), "no such thing"),
        (events({"detail": "Not enough"}), "Not enough"),
        (events(chunk(content="a"), {"error": {"message": "lost"}, "choices": []}), "lost"),
        (
            events({"error": {"message": "lost", "code": 400}, **chunk("error", content="")}),
            "refused the request: lost",
        ),
        (refusal(400, [{"error": {"code": 400, "message": "API key not valid."}}]), "API key not valid."),
        (refusal(422, {"detail": [{"loc": ["body", "n"], "msg": "Missing"}]}), "body.n: Missing"),
        (
            refusal(400, {"error": {"message": "Provider returned error", "metadata": RAW}}),
            "Provider returned error: Acme: too hot",
        ),
        (refusal(400, {"errors": [{"message": "one"}, {"message": "two"}]}), "one; two"),
        (refusal(400, {"message": {"detail": [{"loc": ["body"], "msg": "no"}]}}), "body: no"),
        (refusal(400, {"title": "Bad", "detail": "it is bad"}), "it is bad"),
        (refusal(400, {"error": {"code": "model_gone"}}), "model_gone"),
        (Reply(["Bad things"], 400), "Bad things"),
    ],
    ids=range(17),
)  # fmt: skip
def test_the_words_of_a_failure_are_found_wherever_they_are(script, execution, reply, words) -> None:
    script.replies = [reply]

    outcome = execution("openai/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_FAILED
    assert words in outcome.message


def test_bedrocks_exceptions_within_an_answer_are_told(script, execution) -> None:
    from tests.support.llm_dialects import Bedrock  # noqa: PLC0415  # its frames are binary

    frame = Bedrock()._frame("messageStart", {"role": "assistant"})
    script.replies = [Reply([frame, _exception("validationException", {"message": "too odd"})])]

    outcome = execution("amazon-bedrock/m").run().outcome

    assert isinstance(outcome, Failed), outcome
    assert "too odd" in outcome.message


def _exception(kind: str, data: object) -> bytes:
    import struct  # noqa: PLC0415  # only here
    import zlib  # noqa: PLC0415  # only here

    headers = b"".join(
        struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name, 7, len(value), value)
        for name, value in (
            (b":exception-type", kind.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"exception"),
        )
    )
    payload = json.dumps(data).encode()
    prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def test_only_the_last_answer_counts_for_how_the_run_ended(script, execution, tool) -> None:
    script.replies = [called(call("Sample_run_structure"), finish="length"), said("Hi")]

    outcome = execution("openai/m", structures=(tool.as_structure,)).run().outcome

    assert "answer" not in outcome.detail
