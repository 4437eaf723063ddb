"""What an attempt says again, as readers get it who know of attempts and those who do not."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.attempt.repeats import SURE, Repeats
from worker.executors.base import ExecutorEvent

ANSWER = "".join(f"word{number} " for number in range(200))


def say(token):
    return ExecutorEvent("TextChunkEvent", {"type": "TextChunkEvent", "token": token, "index": 0})


def told(shown, events):
    repeats = Repeats(shown)
    return [out for event in events for out in repeats.passed(event)] + repeats.rest()


def whole(events):
    """The text of an attempt to a reader that knows of attempts."""
    return "".join(event.payload["token"] for event in events if event.type == "TextChunkEvent")


def new(events):
    """The text of an attempt to a client that leaves out what it cannot build an event of."""
    return "".join(
        event.payload["token"] for event in events if event.payload.get("type") == "TextChunkEvent"
    )


def pieces(text, cuts):
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [say(text[begin:end]) for begin, end in itertools.pairwise(places)]


@given(st.integers(0, len(ANSWER)), st.lists(st.integers(0, 10_000), max_size=40))
def test_the_same_answer_goes_on_where_the_first_one_broke_off(shown, cuts):
    events = told(ANSWER[:shown], pieces(ANSWER, cuts))
    assert whole(events) == ANSWER
    assert ANSWER[:shown] + new(events) == ANSWER


@given(st.text("ab", max_size=30), st.text("ab", max_size=30), st.lists(st.integers(0, 99), max_size=9))
def test_whatever_was_shown_an_attempt_is_told_whole(shown, text, cuts):
    assert whole(told(shown, pieces(text, cuts))) == text


def test_another_answer_is_told_from_its_first_word():
    events = told("The sky is blue", [say("The "), say("sky"), say(" is grey")])
    assert [event.payload["token"] for event in events] == ["The sky is grey"]
    assert new(events) == "The sky is grey"


def test_an_attempt_is_not_held_back_for_long():
    repeats = Repeats("a" * 10 * SURE)
    events = [out for _ in range(2 * SURE) for out in repeats.passed(say("a"))]
    assert [len(event.payload["token"]) for event in events] == [SURE, SURE]


@pytest.mark.parametrize("kind", ["FinishPromptEvent", "ActionChunkEvent"])
def test_other_events_keep_their_place(kind):
    other = ExecutorEvent(kind, {"type": kind})
    events = told("Let me look. It is", [say("Let me look."), other, say(" It is 5.")])
    assert [event.type for event in events] == ["TextChunkEvent", kind, "TextChunkEvent", "TextChunkEvent"]
    assert new(events) == " 5."


def test_a_first_attempt_is_told_as_it_comes():
    event = say("Hi")
    assert Repeats("").passed(event) == [event]
