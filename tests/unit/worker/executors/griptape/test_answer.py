"""An answer, put together of whatever pieces a provider sends."""

import time

import pytest

from worker.executors.griptape.providers.answer import (
    Answer,
    CallIds,
    CallPart,
    TextPart,
    ThoughtPart,
    is_made_up,
)


@pytest.fixture
def answer() -> Answer:
    return Answer(CallIds())


def calls(answer: Answer) -> list[tuple[str, str, object]]:
    answer.close()
    return [(call.id, call.name, call.read()) for call in answer.calls]


def test_halves_of_a_character_are_joined(answer) -> None:
    answer.text("a \ud83d")
    answer.text("\ude00 b")

    assert answer.text_so_far == "a \U0001f600 b"


def test_half_a_character_that_stays_alone_is_replaced(answer) -> None:
    answer.text("a\ud83d")
    answer.text("b \ude00")
    answer.text("\ud83d")
    answer.close()

    assert answer.text_so_far == "a\ufffdb \ufffd\ufffd"
    answer.text_so_far.encode()


def test_thoughts_are_no_text(answer) -> None:
    answer.thought("Hm")
    answer.text("Hi")

    assert list(answer.take()) == [ThoughtPart("Hm"), TextPart("Hi")]
    assert (answer.text_so_far, answer.thoughts) == ("Hi", ["Hm"])


@pytest.mark.parametrize("nothing", [None, "", [], 5, {}])
def test_what_is_no_text_is_nothing(answer, nothing) -> None:
    answer.text(nothing)
    answer.thought(nothing)

    assert list(answer.take()) == []


def test_a_call_comes_in_pieces(answer) -> None:
    answer.call(0, call_id="c1", name="look", arguments="")
    answer.call(0, arguments='{"a": ')
    answer.call(0, call_id="", name="", arguments="1}")

    assert calls(answer) == [("c1", "look", {"a": 1})]


def test_a_name_comes_in_pieces(answer) -> None:
    answer.call(0, call_id="c1", name="look")
    answer.call(0, name="_up", arguments="{}")

    assert calls(answer) == [("c1", "look_up", {})]


def test_a_name_without_end_takes_no_time_to_speak_of(answer) -> None:
    begun = time.process_time()
    for number in range(100_000):
        call = answer.call(0, name="ab"[number % 2])

    assert time.process_time() - begun < 2
    assert call.tool_name == "ab" * 500


@pytest.mark.parametrize(
    ("begin", "piece"),
    [('{"a": ["b"', ', "b"'), ('{"a": [{}', ", {}"), ('{"a": 1} "and more', ' "'), ("{a}", " "), ("", " ")],
)
def test_arguments_without_end_are_not_read_anew_with_each_piece(answer, begin, piece) -> None:
    answer.call(0, call_id="c1", name="look", arguments=begin)
    begun = time.process_time()
    for _ in range(30_000):
        answer.call(0, call_id="c2", name="look", arguments=piece)

    assert time.process_time() - begun < 2


def test_a_name_may_be_repeated_with_each_piece(answer) -> None:
    answer.call(0, call_id="c1", name="look", arguments='{"a"')
    answer.call(0, call_id="c1", name="look", arguments=": 1}")

    assert calls(answer) == [("c1", "look", {"a": 1})]


def test_each_piece_may_have_an_identifier_of_its_own(answer) -> None:
    answer.call(0, call_id="c1", name="look", arguments='{"a"')
    answer.call(0, call_id="c2", arguments=": 1}")

    assert calls(answer) == [("c1", "look", {"a": 1})]


@pytest.mark.parametrize("key", [None, 0])
@pytest.mark.parametrize(
    "ids",
    [("c1", "c2"), ("", ""), (None, None), ("c1", ""), ("c1", None)],
    ids=["given", "empty", "none", "1", "1n"],
)
def test_two_whole_calls_are_two_whatever_they_lack(answer, key, ids) -> None:
    for call_id in ids:
        answer.call(key, call_id=call_id, name="look", arguments='{"a": 1}')

    found = calls(answer)
    assert [(name, arguments) for _, name, arguments in found] == [("look", {"a": 1})] * 2
    assert len({call_id for call_id, _, _ in found}) == 2
    assert all(call_id for call_id, _, _ in found)


@pytest.mark.parametrize("key", [None, 0])
def test_a_call_that_is_said_again_is_one(answer, key) -> None:
    answer.call(key, call_id="c1", name="look", arguments='{"a": 1}')
    answer.call(key, call_id="c1", name="look", arguments='{"a": 1}')

    assert calls(answer) == [("c1", "look", {"a": 1})]


@pytest.mark.parametrize("name", [None, "", 5])
def test_a_call_of_nothing_with_nothing_is_none(answer, name) -> None:
    answer.call(0, call_id="c1", name=name, arguments="")

    assert calls(answer) == []
    assert list(answer.take()) == []


def test_arguments_that_are_said_again_whole_are_those(answer) -> None:
    answer.call(0, call_id="c1", name="look", arguments='{"a": 1}')
    answer.call(0, arguments='{"a": ')
    answer.call(0, arguments="1}")

    assert calls(answer) == [("c1", "look", {"a": 1})]


def test_pieces_without_a_key_continue_the_last_call(answer) -> None:
    answer.call(None, call_id="c1", name="look", arguments="")
    answer.call(None, arguments='{"a": ')
    answer.call(None, arguments="1}")
    answer.call(None, call_id="c2", name="see", arguments="{}")

    assert calls(answer) == [("c1", "look", {"a": 1}), ("c2", "see", {})]


def test_pieces_of_two_calls_may_alternate(answer) -> None:
    answer.call(0, call_id="c1", name="look", arguments='{"a"')
    answer.call(1, call_id="c2", name="see", arguments='{"b"')
    answer.call(0, arguments=": 1}")
    answer.call(1, arguments=": 2}")

    assert calls(answer) == [("c1", "look", {"a": 1}), ("c2", "see", {"b": 2})]


def test_an_identifier_is_used_once_in_a_run() -> None:
    ids = CallIds()
    found = []
    for _ in range(2):
        answer = Answer(ids)
        answer.call(0, call_id="call_0", name="look")
        found += [call_id for call_id, _, _ in calls(answer)]

    assert found[0] == "call_0"
    assert is_made_up(found[1])


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", {}),
        ("  ", {}),
        ({"a": 1}, {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("{broken", None),
        ("[1]", None),
        ("null", {}),
        ('"text"', None),
        ('{"a": "\\ud83d"}', {"a": "\ufffd"}),
    ],
)
def test_arguments_are_an_object_or_none(answer, given, read) -> None:
    answer.call(0, call_id="c1", name="look", arguments=given)

    assert calls(answer) == [("c1", "look", read)]


def test_a_call_is_told_with_its_head_first(answer) -> None:
    answer.call(0, call_id="c1", name="look")
    assert list(answer.take()) == []
    answer.call(0, arguments='{"a": ')
    answer.call(0, arguments="1}")
    call = answer.calls[0]

    assert list(answer.take()) == [CallPart(call, True, '{"a": '), CallPart(call, False, "1}")]


def test_a_call_without_arguments_is_told_at_the_end(answer) -> None:
    answer.call(0, call_id="c1", name="look")
    answer.close()

    assert list(answer.take()) == [CallPart(answer.calls[0], True, "")]


def test_counts_are_kept_until_there_are_newer_ones(answer) -> None:
    answer.count(asked=3, answered=1)
    answer.count(asked=None, answered=7)
    answer.count(asked="many", answered=-1)

    assert (answer.input_tokens, answer.output_tokens) == (3, 7)
