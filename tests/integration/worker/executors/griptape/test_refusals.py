"""What comes in an answer's place is told in a sentence, however a server says it."""

import gzip
import json
import threading
import time
from http import HTTPStatus

import pytest

from shared.lifecycle import Reason
from tests.support.llm_script import DONE, Reply, events, named_events, refusal
from worker.executors.base import Failed, InvalidConfigurationError
from worker.executors.griptape import endpoint

JSON = {"Content-Type": "application/json"}
PATIENT = {"model_attempts": None}


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
