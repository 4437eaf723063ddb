"""No provider key in the events of a run, also where chunks of text split it."""

import pytest

from worker.attempt.event_redactor import EventRedactor
from worker.executors.base import ExecutorEvent

KEY = "sk-proj-Zq8/xY+w9=tUvR3nMb5Kc7Ld"


def chunk(token: str, index: int = 0) -> ExecutorEvent:
    return ExecutorEvent("TextChunkEvent", {"type": "TextChunkEvent", "token": token, "index": index}, 1.0)


def said(redactor: EventRedactor, events) -> str:
    passed = [passed for event in events for passed in redactor.passed(event)]
    return "".join(event.payload.get("token", "|") for event in [*passed, *redactor.rest()])


@pytest.mark.parametrize("size", range(1, len(KEY) + 1))
def test_a_key_that_is_split_over_chunks_is_redacted(monkeypatch, size) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    text = f"The key is {KEY}, so."
    chunks = [chunk(text[start : start + size]) for start in range(0, len(text), size)]

    assert said(EventRedactor(), chunks) == "The key is [OPENAI_API_KEY], so."


@pytest.mark.parametrize("size", range(1, len(KEY) + 1))
def test_a_key_that_is_split_over_thoughts_or_arguments_is_redacted(monkeypatch, size) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    text = f"The key is {KEY}, so."
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    for event_type, field in (("ReasoningChunkEvent", "token"), ("ActionChunkEvent", "partial_input")):
        events = [ExecutorEvent(event_type, {"type": event_type, field: piece}) for piece in pieces]
        redactor = EventRedactor()
        passed = [passed for event in events for passed in redactor.passed(event)]
        assert (
            "".join(event.payload[field] for event in [*passed, *redactor.rest()])
            == "The key is [OPENAI_API_KEY], so."
        )


def test_a_key_that_is_the_name_of_an_argument_is_redacted(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert EventRedactor().cleaned({"input": {KEY: [{f"a {KEY}": 1}]}}) == {
        "input": {"[OPENAI_API_KEY]": [{"a [OPENAI_API_KEY]": 1}]}
    }


def arguments(text: str, **head: str) -> ExecutorEvent:
    payload = {"tag": None, "name": None, "path": None, "index": 1, **head}
    return ExecutorEvent("ActionChunkEvent", {**payload, "partial_input": text})


def test_what_the_first_of_several_chunks_says_stays_with_it(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    head = {"tag": "c1", "name": "Sample", "path": "run"}
    redactor = EventRedactor()

    assert redactor.passed(arguments("sk-p", **head)) == []
    (first,) = redactor.passed(arguments("ie sk-p"))
    assert (first.payload["partial_input"], first.payload["tag"]) == ("sk-pie ", "c1")
    (second,) = redactor.passed(arguments("ie"))
    assert (second.payload["partial_input"], second.payload["tag"]) == ("sk-pie", None)
    assert redactor.passed(arguments("sk-p", **head)) == []
    old, new = redactor.passed(arguments("x", **(head | {"tag": "c2", "name": KEY})))
    assert [old.payload["tag"], new.payload["tag"]] == ["c1", "c2"]
    assert new.payload["name"] == "[OPENAI_API_KEY]"


def test_what_only_looked_like_a_key_is_told(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    end = ExecutorEvent("FinishPromptEvent", {"type": "FinishPromptEvent", "result": f"a {KEY}"})

    assert said(EventRedactor(), [chunk("a sk-p"), chunk("ie")]) == "a sk-pie"
    assert said(EventRedactor(), [chunk("a sk-p"), end, chunk("b")]) == "a sk-p|b"
    assert said(EventRedactor(), [chunk("a sk-p"), chunk("roj", index=1)]) == "a sk-proj"
    assert said(EventRedactor(), [chunk("a sk-p")]) == "a sk-p"
    (passed,) = EventRedactor().passed(end)
    assert passed.payload["result"] == "a [OPENAI_API_KEY]"


def test_without_keys_events_pass_as_they_are(monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    event = chunk("sk-proj-Zq8")

    assert EventRedactor().passed(event) == [event]
