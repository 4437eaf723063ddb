"""From bytes to the JSON objects of an answer."""

import json
import time

import pytest

from worker.executors.griptape.model_errors import AnswerTooLongError, NoAnswerError
from worker.executors.griptape.providers import frames as reading
from worker.executors.griptape.providers.frames import DONE, frames

ONE = b'data: {"n": 1}\n\n'
TWO = b'data: {"n": 2}\n\n'


def read(*parts: bytes) -> list[object]:
    return ["done" if frame is DONE else frame.get("n", frame) for frame in frames(parts)]


@pytest.mark.parametrize(
    "between",
    [
        b": ping\n\n",
        b"retry: 3000\n\n",
        b"event: ping\n\n",
        b"data:\n\n",
        b"data: \n\n",
        b"data: null\n\n",
        b"data: 5\n\n",
        b"id: 7\n\n",
        b": a comment\nid: 1\n\n",
        b"\n\n\n",
        b"nonsense\n\n",
    ],
)
def test_what_frames_nothing_is_skipped(between) -> None:
    assert read(ONE, between, TWO) == [1, 2]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_in_any_way_that_the_format_knows(end) -> None:
    text = (ONE + TWO).replace(b"\n", end)

    assert read(*(text[n : n + 1] for n in range(len(text)))) == [1, 2]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"", b"\n", b"\r\n\r\n"])
def test_a_mark_or_empty_lines_before_the_first_event_do_not_matter(mark) -> None:
    assert read(mark + ONE) == [1]


def test_characters_may_be_cut_anywhere() -> None:
    data = 'data: {"n": "h\u00e9 \U0001f600 \u2028"}\n\n'.encode()

    assert read(*(data[n : n + 1] for n in range(len(data)))) == ["h\u00e9 \U0001f600 \u2028"]


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e"])
@pytest.mark.parametrize("framing", ["{}\n", "data: {}\n\n"])
def test_only_what_the_format_says_ends_a_line(separator, framing) -> None:
    line = framing.replace("{}", json.dumps({"n": f"a{separator}b"}, ensure_ascii=False), 1)
    raw = line.replace("\\u000b", "\x0b").replace("\\f", "\\f")

    assert read(raw.encode()) == [f"a{separator}b"]


def test_data_may_stand_on_several_lines() -> None:
    assert read(b'data: {"n":\ndata: 1}\n\n') == [1]


def test_events_that_lack_the_line_between_them_are_told_apart() -> None:
    assert read(b'data: {"n": 1}\ndata: {"n": 2}\ndata: [DONE]\n\n') == [1, 2, "done"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_a_last_event_needs_no_end(end) -> None:
    assert read(ONE, b"data: [DONE]" + end) == [1, "done"]


def test_a_last_event_that_is_cut_is_none() -> None:
    assert read(ONE, b'data: {"n": ') == [1]


@pytest.mark.parametrize(
    "body",
    [b'{"n": 1}', b'{"n": 1}\n', b'{\n  "n":\n  1\n}', b'[{"n": 1}]', b'\n {"n": 1}', b'{"n": 1}\r\n'],
)
def test_a_document_is_read_where_a_stream_was_asked_for(body) -> None:
    assert read(body) == [1]


def test_lines_of_json_are_read_as_they_come() -> None:
    def parts():
        yield b'{"n": 1}\n{"n"'
        yield b": 2}\n"
        pytest.fail("the second line was not given out before more was read")

    reading = frames(parts())

    assert [next(reading)["n"], next(reading)["n"]] == [1, 2]


@pytest.mark.parametrize(
    "error", [b'event: error\ndata: {"message": "no"}\n\n', b"event: error\ndata: no\n\n"]
)
def test_an_event_that_is_an_error_says_so(error) -> None:
    [frame] = frames([error])

    assert frame == {"error": {"message": "no"}}


def test_an_error_amid_events_that_is_no_event_is_found() -> None:
    assert read(ONE, b'{"error": {"message": "no"}}\n\n') == [1, {"error": {"message": "no"}}]


@pytest.mark.parametrize(
    "body", [b"<html>It works!</html>", b"  <!doctype html>", b"data: {no json\n\n", b"{no json\n", b"[1, "]
)
def test_what_is_no_answer_is_refused(body) -> None:
    with pytest.raises(NoAnswerError):
        read(body)


def test_nothing_is_nothing() -> None:
    assert read() == read(b"") == read(b"\n\n") == []


@pytest.mark.parametrize("nothing", [b": ping\n\n", b"\n", b" \n", b":\n"])
@pytest.mark.parametrize("before", [b"", ONE])
def test_comments_and_empty_lines_without_end_are_given_up(monkeypatch, before, nothing) -> None:
    monkeypatch.setattr(reading, "MAX_SILENT", 10_000)

    with pytest.raises(AnswerTooLongError):
        read(before, *[nothing * 100] * 1_000)


def test_an_answer_without_end_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 10_000)

    with pytest.raises(AnswerTooLongError):
        read(*[ONE] * 1_000)


def test_an_event_of_empty_lines_without_end_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(reading, "MAX_FRAME", 10_000)

    with pytest.raises(NoAnswerError):
        read(b"data:\n" * 5_000)


def test_a_long_line_in_small_parts_takes_no_time_to_speak_of() -> None:
    line = b'data: {"n": "' + b"x" * 4_000_000 + b'"}\n\n'
    begun = time.process_time()

    assert read(*(line[at : at + 200] for at in range(0, len(line), 200))) == ["x" * 4_000_000]
    assert time.process_time() - begun < 5


def test_a_document_of_many_lines_takes_no_time_to_speak_of() -> None:
    rows = [{"n": n, "a": [{"b": '}]"{'}]} for n in range(5_000)]
    begun = time.process_time()

    assert read(json.dumps(rows, indent=1).encode()) == list(range(5_000))
    assert time.process_time() - begun < 5
