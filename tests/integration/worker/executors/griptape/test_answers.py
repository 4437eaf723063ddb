"""What an assistant's run emits and gives when its model answers."""

import json
import socket
from typing import Any

import pytest
from griptape.artifacts import TextArtifact
from griptape.events import BaseEvent

from tests.support.llm_dialects import USAGE
from worker.executors.base import Exchange, Rule, Ruleset, Succeeded
from worker.executors.griptape.providers.echo import PREFACE

ORDER = ["StartStructureRunEvent", "StartTaskEvent", "StartPromptEvent", "TextChunkEvent"]
PROVIDERS = ["openai", "anthropic", "ollama", "azure-openai", "cohere", "google", "amazon-bedrock"]


def usage(execution: Any) -> tuple[float, float]:
    [finish] = [event.payload for event in execution.events if event.type == "FinishPromptEvent"]
    return finish["input_token_count"], finish["output_token_count"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_is_streamed_and_is_the_output(stub, execution, provider) -> None:
    answered = execution(f"{provider}/words-3").run()

    assert isinstance(answered.outcome, Succeeded)
    assert answered.output == answered.text == "word0 word1 word2 "
    assert answered.types == [
        *ORDER,
        "TextChunkEvent",
        "TextChunkEvent",
        "FinishPromptEvent",
        "FinishTaskEvent",
    ]


def test_the_output_is_an_artifact_object(stub, execution) -> None:
    answered = execution("openai/words-3").run()

    assert set(answered.outcome.output) == {"type", "id", "reference", "meta", "name", "value"}
    assert TextArtifact.from_dict(dict(answered.outcome.output)).value == answered.text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_is_what_the_provider_reports(stub, execution, provider) -> None:
    assert usage(execution(f"{provider}/words-3").run()) == USAGE


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_usage_is_estimated_where_the_provider_reports_none(stub, execution, provider) -> None:
    asked, answered = usage(execution(f"{provider}/no-usage").run())

    assert asked > 0
    assert answered == 8  # 30 characters, of four bytes to a token


def test_chunks_arrive_before_the_answer_is_complete(stub, execution) -> None:
    running = execution("openai/words-50-100").start()

    assert running.wait_for("TextChunkEvent")
    assert running.outcome is None
    assert running.text.count("word") < 50


def test_clients_can_read_every_event(stub, execution) -> None:
    answered = execution(
        "openai/words-3", args=("a", "b"), rulesets=(Ruleset("r", (Rule("n", "Be brief."),)),)
    )

    for event in answered.run().events:
        payload = json.loads(json.dumps(event.payload))
        read = BaseEvent.from_dict(dict(payload))
        assert type(read).__name__ == event.type == payload["type"]
        assert json.loads(json.dumps(read.to_dict())) == payload


def test_events_of_two_runs_have_different_structures(stub, execution) -> None:
    ids = {execution("echo").run().events[0].payload["structure_id"] for _ in range(2)}

    assert len(ids) == 2


def test_the_request_holds_the_prompt_the_rules_and_the_history(stub, execution) -> None:
    execution(
        "openai/words-3",
        "And the second?",
        rulesets=(Ruleset("Manners", (Rule("polite", "Say {{ please }}."),)),),
        history=(Exchange("Who was {{ first }}?", "Ada."),),
    ).run()

    messages = stub.records.requests[0]["body"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert "Manners" in messages[0]["content"]
    assert "Say {{ please }}." in messages[0]["content"]
    assert [message["content"] for message in messages[1:]] == [
        "Who was {{ first }}?",
        "Ada.",
        "And the second?",
    ]


def test_without_rules_and_history_only_the_prompt_is_sent(stub, execution) -> None:
    execution("openai/words-3", "Hello").run()

    assert stub.records.requests[0]["body"]["messages"] == [{"role": "user", "content": "Hello"}]


def test_no_text_of_a_user_is_run_as_a_template(execution) -> None:
    attack = "{{ args }} {{ structure.__class__.__mro__ }} {% raw %}"

    answered = execution("echo", None, args=(attack,)).run()

    assert answered.output == PREFACE + attack


def test_echo_streams_its_input_word_by_word(execution) -> None:
    answered = execution("echo", "one two\n three").run()

    chunks = [event.payload["token"] for event in answered.events if event.type == "TextChunkEvent"]
    assert "".join(chunks) == answered.output == f"{PREFACE}one two\n three"
    assert len(chunks) == 8
    assert usage(answered) == (8, 12)


def test_echo_keeps_its_pace(execution) -> None:
    running = execution("echo", "a " * 100, options={"echo_words_per_second": 1}).start()

    assert running.wait_for("TextChunkEvent")
    assert running.types.count("TextChunkEvent") == 1


def test_nothing_to_ask_is_a_clear_failure(execution) -> None:
    answered = execution("echo", "  ").run()

    assert answered.outcome.reason == "InvalidConfiguration"
    assert "nothing to ask" in answered.outcome.message
    assert answered.events == []


def test_no_provider_needs_more_network_than_its_own(stub, execution, monkeypatch) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in {"127.0.0.1", "::1"}, address
        connect(self, address)

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _loopback_only(socket.getaddrinfo))
    history = (Exchange("a", "b"),)  # it makes the framework count tokens

    for model in ["echo", *(f"{provider}/no-usage" for provider in ("openai", "ollama")), "anthropic/any"]:
        assert isinstance(execution(model, history=history).run().outcome, Succeeded)


def _loopback_only(resolve: Any) -> Any:
    def checked(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert host in {"127.0.0.1", "localhost"}, host
        return resolve(host, *args, **kwargs)

    return checked
