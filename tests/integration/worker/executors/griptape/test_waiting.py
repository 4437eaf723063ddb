"""A model that is busy is waited for; one that is broken is not, for long."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.llm_script import Reply, events, named_events, refusal, said
from worker.cancellation import RunStopped, StopReason
from worker.executors.base import Failed, Succeeded
from worker.executors.griptape import model_driver


@pytest.fixture
def _brisk(monkeypatch):
    """Pauses that a provider does not ask for are short."""
    monkeypatch.setattr(model_driver, "FIRST_RETRY_INTERVAL", 0.01)


@pytest.fixture
def _even(monkeypatch):
    """Pauses hardly become longer."""
    monkeypatch.setattr(model_driver, "MAX_RETRY_INTERVAL", 0.05)


PATIENT = {"model_attempts": None}
HI = said("Hi there")
BUSY = {"error": {"message": "Too much to do."}}
MINUTE_QUOTA = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "details": [{"violations": [{"quotaId": "RequestsPerMinute"}]}, {"retryDelay": "0.7s"}],
    }
}
DAY_QUOTA = {"error": {**MINUTE_QUOTA["error"], "details": [{"violations": [{"quotaId": "RequestsPerDay"}]}]}}


def claude(text: str) -> Reply:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return named_events({"type": "message_start", "message": {}}, delta, {"type": "message_stop"})


GEMINI_HI = events({"candidates": [{"content": {"parts": [{"text": "Hi there"}]}, "finishReason": "STOP"}]})
COHERE_HI = named_events(
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi there"}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
)
OLLAMA_HI = Reply(['{"message": {"content": "Hi there"}, "done": true}\n'])


@pytest.mark.usefixtures("_brisk")
@pytest.mark.parametrize(
    "status", [408, 409, 425, 429, 498, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530, 599]
)
def test_a_status_that_passes_is_waited_out(script, execution, status) -> None:
    script.replies = [Reply(["<html>error</html>"], status), HI]

    assert execution("openai/m", options=PATIENT).run().output == "Hi there"


@pytest.mark.usefixtures("_brisk")
@pytest.mark.parametrize(
    ("provider", "told", "good"),
    [
        (
            "anthropic",
            named_events({"type": "error", "error": {"type": "overloaded_error"}}),
            claude("Hi there"),
        ),
        (
            "anthropic",
            named_events(
                {"type": "message_start", "message": {}},
                {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            ),
            claude("Hi there"),
        ),
        (
            "anthropic",
            named_events({"type": "error", "error": {"type": "rate_limit_error"}}),
            claude("Hi there"),
        ),
        ("openai", events({"error": {"message": "Slow down", "code": 429}}), HI),
        ("openai", events({"error": {"message": "Slow down", "code": "503"}}), HI),
        ("openai", events({"error": {"message": "x", "type": "server_error"}}), HI),
        ("openai", events({"error": {"message": "The server is overloaded. Try again."}}), HI),
        ("openai", Reply(['{"error": {"message": "x", "type": "rate_limit_exceeded"}}']), HI),
        ("openai", events({"error": "Model is overloaded", "error_type": "overloaded"}), HI),
        ("openai", events({"error": "Out of memory", "error_type": "generation"}), HI),
        ("openai", events({"choices": [], "x_groq": {"error": "over capacity"}}, "data: [DONE]\n\n"), HI),
        (
            "openai",
            Reply(['{"status": "449", "msg": "You exceeded your current rate limit", "body": null}']),
            HI,
        ),
        (
            "openai",
            Reply(['{"choices": null, "base_resp": {"status_msg": "rate limit", "status_code": 1}}']),
            HI,
        ),
        ("openai", events({"error": {"code": 502, "message": "Disconnected"}, "choices": []}), HI),
        ("anthropic", named_events({"type": "error", "error": {"type": "api_error"}}), claude("Hi there")),
        (
            "anthropic",
            named_events({"type": "error", "error": {"type": "timeout_error"}}),
            claude("Hi there"),
        ),
        ("google", events({"error": {"code": 503, "status": "UNAVAILABLE"}}), GEMINI_HI),
        ("google", events([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]), GEMINI_HI),
        ("cohere", named_events({"type": "message-end", "delta": {"finish_reason": "ERROR"}}), COHERE_HI),
        ("cohere", named_events({"type": "message-end", "delta": {"error": "out of memory"}}), COHERE_HI),
        ("ollama", Reply(['{"error": "llama runner process has terminated: exit status 2"}\n']), OLLAMA_HI),
        ("ollama", Reply(['{"message": {}, "done": true, "done_reason": "load"}\n']), OLLAMA_HI),
    ],
    ids=range(22),
)
def test_a_provider_that_is_busy_may_say_so_within_an_answer(script, execution, provider, told, good) -> None:
    script.replies = [told, told, good]

    assert execution(f"{provider}/m", options=PATIENT).run().output == "Hi there"


def test_a_provider_that_is_busy_amid_its_words_is_not_asked_again(script, execution) -> None:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    busy = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    script.replies = [named_events({"type": "message_start", "message": {}}, delta, busy)]

    outcome = execution("anthropic/m", options=PATIENT).run().outcome

    assert isinstance(outcome, Failed)
    assert "Overloaded" in outcome.message
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry_After": "0.7"}, BUSY, 0.7),
        ({"retry_after_ms": "700"}, BUSY, 0.7),
        ({}, {"error": {"details": [{"retryDelay": "0.7s"}]}}, 0.7),
        ({}, MINUTE_QUOTA, 0.7),
        ({}, [MINUTE_QUOTA], 0.7),
    ],
    ids=range(5),
)
def test_a_pause_that_is_asked_for_is_made(script, execution, headers, body, seconds) -> None:
    script.replies = [refusal(429, body, **headers), HI]
    begun = time.monotonic()

    assert execution("openai/m", options=PATIENT).run().output == "Hi there"
    assert time.monotonic() - begun >= seconds


@pytest.mark.usefixtures("_brisk", "_even")
def test_patience_is_a_time_and_not_a_number_of_tries(script, execution) -> None:
    script.replies = [*[refusal(429, BUSY, Retry_After="0.01")] * 12, HI]

    assert execution("openai/m", options=PATIENT).run().output == "Hi there"


def test_patience_ends(script, execution) -> None:
    script.replies = [refusal(429, BUSY)]
    begun = time.monotonic()

    outcome = execution("openai/m", options={**PATIENT, "model_patience_seconds": 1.2}).run().outcome

    assert isinstance(outcome, Failed)
    assert "Too much to do." in outcome.message
    assert time.monotonic() - begun < 30
    assert 1 <= len(script.requests) <= 2


@pytest.mark.parametrize(
    "reply",
    [
        refusal(429, BUSY, Retry_After="3600"),
        refusal(429, {"error": {"message": "x", "code": "insufficient_quota", "type": "insufficient_quota"}}),
        refusal(429, DAY_QUOTA, Retry_After="0.01"),
        refusal(429, {"error": {"message": "Insufficient account balance"}}),
    ],
    ids=["beyond patience", "no money", "no more today", "no balance"],
)
def test_what_waiting_cannot_help_is_not_waited_for(script, execution, reply) -> None:
    script.replies = [reply]

    assert isinstance(execution("openai/m", options=PATIENT).run().outcome, Failed)
    assert len(script.requests) == 1


@pytest.mark.usefixtures("_brisk", "_even")
@pytest.mark.parametrize("status", [500, 502, 520, 524])
def test_a_server_that_is_down_is_waited_for_as_long_as_patience_lasts(script, execution, status) -> None:
    script.replies = [*[refusal(status, {"error": {"message": "broken"}})] * 7, HI]

    assert execution("openai/m", options=PATIENT).run().output == "Hi there"


@pytest.mark.usefixtures("_brisk")
def test_a_server_that_fails_without_a_word_of_its_end_is_waited_for_a_tenth_of_that(
    script, execution
) -> None:
    script.replies = [refusal(500, {"error": {"message": "broken"}})]
    begun = time.monotonic()

    outcome = execution("openai/m", options={**PATIENT, "model_patience_seconds": 10}).run().outcome

    assert isinstance(outcome, Failed)
    assert time.monotonic() - begun < 9
    assert 5 <= len(script.requests) <= 8


@pytest.mark.usefixtures("_brisk")
def test_a_model_that_breaks_its_answer_again_and_again_is_given_up(script, execution) -> None:
    script.replies = [said(finish="error")]

    assert isinstance(execution("openai/m", options=PATIENT).run().outcome, Failed)
    assert len(script.requests) == 4


def test_a_server_that_asks_for_hardly_a_pause_is_not_asked_all_the_time(script, execution) -> None:
    script.replies = [refusal(503, BUSY, Retry_After="0.001")]

    execution("openai/m", options={**PATIENT, "model_patience_seconds": 1.5}).run()

    assert len(script.requests) < 10


def test_a_run_that_waits_for_its_model_can_be_stopped(script, execution) -> None:
    script.replies = [refusal(429, BUSY, Retry_After="60")]
    waiting = execution("openai/m", options=PATIENT).start()
    assert waiting.wait_for("StartPromptEvent")

    waiting.token.cancel(StopReason.CANCELLED)

    assert waiting.has_ended(within=30)
    assert isinstance(waiting.outcome, RunStopped)


def test_many_runs_at_once_keep_to_the_pace_that_a_provider_allows(script, execution) -> None:
    allowed, window = 20, 1.0
    taken: list[float] = []

    def answer(_asked):
        now = time.monotonic()
        taken[:] = [each for each in taken if now - each < window]
        if len(taken) >= allowed:
            return refusal(429, BUSY)
        taken.append(now)
        return HI

    script.answering = answer
    runs = [execution("openai/m", options=PATIENT) for _ in range(50)]

    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda each: each.run(), runs))

    assert all(isinstance(each.outcome, Succeeded) for each in runs), [each.outcome for each in runs]
    assert len(script.requests) < 50 * 6


def test_silence_has_a_setting(stub, execution) -> None:
    outcome = execution("openai/hang", options={"model_silence_seconds": 0.2}).run().outcome

    assert "sent nothing for 0.2 seconds" in outcome.message
