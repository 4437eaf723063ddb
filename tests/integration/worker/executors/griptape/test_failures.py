"""What a run says of a model that fails it, and how often the model is asked again."""

import socket
import time

import pytest

from shared.lifecycle import Reason
from worker.executors.base import Failed, InvalidConfigurationError, Succeeded
from worker.executors.griptape import connections

PROVIDERS = ["openai", "anthropic", "ollama"]


def failure(execution) -> str:
    """The message of a run that its model failed."""
    outcome = execution.run().outcome
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is Reason.MODEL_FAILED
    return outcome.message


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("status", "verdict"), [(400, "refused the request"), (429, "refused the request"), (500, "failed")]
)
def test_a_refusal_is_told_in_the_words_of_the_provider(stub, execution, provider, status, verdict) -> None:
    message = failure(execution(f"{provider}/status-{status}"))

    assert message == (
        f"{provider}/status-{status} {verdict} (status {status}): The stub refuses with {status}."
    )


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, "refuses the key it was called with"),
        (403, "refuses the key it was called with"),
        (404, "is not known at the address that was called"),
    ],
)
def test_a_wrong_key_or_model_is_our_configuration(stub, execution, provider, status, verdict) -> None:
    outcome = execution(f"{provider}/status-{status}").run().outcome

    assert isinstance(outcome, InvalidConfigurationError)
    assert f"{provider}/status-{status} {verdict} (status {status})" in str(outcome)
    assert "sk-" not in str(outcome)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        ("close-midstream", "broke off its answer."),
        ("end-midstream", "broke off its answer."),
        ("garbage", "answered with something that cannot be read."),
        ("html", "answered with something that cannot be read."),
    ],
)
def test_an_answer_that_is_none_is_told(stub, execution, provider, model, verdict) -> None:
    assert failure(execution(f"{provider}/{model}")) == f"{provider}/{model} {verdict}"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("model", ["hang", "hang-midstream"])
def test_a_model_that_is_silent_for_too_long_is_given_up(stub, execution, provider, model) -> None:
    message = failure(execution(f"{provider}/{model}", options={"model_silence_seconds": 0.3}))

    assert message == f"{provider}/{model} sent nothing for 0.3 seconds and was given up."
    assert len(stub.records.requests) == 1


@pytest.mark.parametrize("provider", ["openai", "cohere"])  # of either HTTP client
def test_a_server_that_does_not_read_its_request_is_told(stub, execution, monkeypatch, provider) -> None:
    monkeypatch.setattr(connections, "WRITE_TIMEOUT", 0.2)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        for name in ("OPENAI_BASE_URL", "CO_API_URL"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{deaf.getsockname()[1]}")

        message = failure(execution(f"{provider}/any", "x" * 16_000_000))

    assert message == f"{provider}/any did not take the request."


def test_an_address_where_nobody_listens_is_told(stub, execution, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    assert failure(execution("openai/any")).startswith("openai/any cannot be reached: ")


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_our_configuration(stub, execution, monkeypatch, address) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)

    outcome = execution("openai/any").run().outcome

    assert isinstance(outcome, InvalidConfigurationError)
    assert str(outcome).startswith("openai/any cannot be called: ")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "cohere", "ollama", "amazon-bedrock"])
@pytest.mark.parametrize("password", ["pa55/word", "pa55#word"])
def test_no_part_of_a_password_that_makes_an_address_none_is_told(
    stub, execution, monkeypatch, provider, password
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{password}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")

    outcome = execution(f"{provider}/any").run().outcome

    assert isinstance(outcome, InvalidConfigurationError)
    assert f"{provider}/any cannot be called: " in str(outcome)
    assert "pa55" not in str(outcome)


def test_no_part_of_a_password_in_a_providers_address_is_told(stub, execution, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:pa55/word@127.0.0.1:9")

    assert "pa55" not in str(execution("openai/any").run().outcome)


def test_a_call_that_fails_before_its_answer_began_is_repeated(stub, execution) -> None:
    answered = execution("openai/flaky-503-1", options={"model_attempts": 2}).run()

    assert isinstance(answered.outcome, Succeeded)
    assert answered.text == answered.output
    assert len(stub.records.requests) == 2


def test_a_provider_that_asks_for_a_pause_gets_it(stub, execution) -> None:
    begun = time.monotonic()
    answered = execution("openai/flaky-429-1", options={"model_attempts": 2}).run()

    assert isinstance(answered.outcome, Succeeded)
    assert time.monotonic() - begun > 2


def test_attempts_are_bounded(stub, execution) -> None:
    failure(execution("openai/status-500", options={"model_attempts": 2}))

    assert len(stub.records.requests) == 2


@pytest.mark.parametrize("model", ["status-400", "status-401", "close-midstream", "garbage"])
def test_a_call_that_would_fail_again_or_has_been_seen_is_not_repeated(stub, execution, model) -> None:
    execution(f"openai/{model}", options={"model_attempts": 3}).run()

    assert len(stub.records.requests) == 1


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("azure-openai", "AZURE_OPENAI_ENDPOINT"),
        ("azure-openai", "AZURE_OPENAI_API_KEY"),
        ("google", "GOOGLE_API_KEY"),
        ("cohere", "COHERE_API_KEY"),
    ],
)
def test_a_missing_key_is_named(stub, execution, monkeypatch, provider, variable) -> None:
    monkeypatch.delenv(variable)
    monkeypatch.delenv("OPENAI_BASE_URL")
    asked = execution(f"{provider}/any").run()

    assert isinstance(asked.outcome, InvalidConfigurationError)
    assert f"{provider} needs {variable}" in str(asked.outcome)
    assert asked.events == []


def test_a_server_of_ones_own_needs_no_key(stub, execution, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    assert isinstance(execution("openai/any").run().outcome, Succeeded)


def test_a_failure_of_the_agent_is_the_assistants(stub, execution) -> None:
    broken = execution("openai/words-3")
    emit = broken.emit

    def failing(event) -> None:
        if event.type == "TextChunkEvent":
            raise ZeroDivisionError("by zero")
        emit(event)

    broken.emit = failing

    assert broken.run().outcome == Failed("ZeroDivisionError: by zero", Reason.ASSISTANT_FAILED)


def test_the_framework_writes_nothing_of_its_own(stub, execution, capfd, caplog) -> None:
    execution("openai/words-3", "a secret question").run()
    execution("openai/status-500", "a secret question").run()

    assert capfd.readouterr() == ("", "")
    assert "secret" not in caplog.text
