"""Lines of a program's output."""

import time

import pytest

from worker.cancellation import RunStopped
from worker.executors.base import LogLine, LogStream
from worker.executors.program.output import (
    BATCH_BYTES,
    LINE_COST,
    LONGEST_LINE,
    PROGRESS_BURST,
    TAIL_BYTES,
    UNFINISHED_TIMEOUT,
    Output,
)
from worker.redaction import StreamRedactor

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


@pytest.fixture
def batches():
    return []


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def output(batches, clock):
    def output(limit=1000, **variables):
        return Output(batches.append, StreamRedactor(variables), limit=limit, clock=lambda: clock[0])

    return output


def texts(batches):
    return [line.text for batch in batches for line in batch]


def test_pieces_become_lines(output, batches):
    one = output()
    for piece in (b"a", b"b\ncd", b"\r\n", b"last"):
        one.feed(OUT, piece)
    one.close()
    assert texts(batches) == ["ab", "cd", "last"]


def test_streams_are_told_apart(output, batches):
    one = output()
    one.feed(OUT, b"half ")
    one.feed(ERR, b"error\n")
    one.feed(OUT, b"line\n")
    one.close()
    assert [line for batch in batches for line in batch] == [
        LogLine(ERR, "error"),
        LogLine(OUT, "half line"),
    ]


def test_the_first_line_goes_at_once_and_later_ones_together(output, batches, clock):
    one = output()
    for line in (b"1\n", b"2\n", b"3\n"):
        one.feed(OUT, line)
    assert texts(batches) == ["1"]
    assert one.due_in == pytest.approx(0.1)
    clock[0] = 0.2
    one.flush_if_due()
    assert [len(batch) for batch in batches] == [1, 2]
    assert one.due_in is None


def test_a_line_without_end_is_several(output, batches):
    one = output(limit=10**6)
    one.feed(OUT, b"x" * (2 * LONGEST_LINE + 5))
    one.close()
    assert [len(text) for text in texts(batches)] == [LONGEST_LINE, LONGEST_LINE, 5]


def test_bytes_that_are_no_text_are_replaced(output, batches):
    one = output()
    one.feed(OUT, b"\xff\n")
    one.close()
    assert texts(batches) == ["\N{REPLACEMENT CHARACTER}"]


def test_beyond_the_bound_only_the_end_is_kept(output, batches):
    one = output(limit=4 * (5 + LINE_COST))
    for number in range(10_000):
        one.feed(OUT, b"%05d\n" % number)
    one.close()
    said = texts(batches)
    assert said[:4] == ["00000", "00001", "00002", "00003"]
    assert said[-1] == "09999"
    (marker,) = [text for text in said if "left out" in text]
    assert int(marker.split()[1]) + len(said) - 1 == 10_000


def test_empty_lines_are_not_for_nothing(output, batches):
    one = output(limit=2**20)
    for _ in range(16):
        one.feed(OUT, b"\n" * 2**16)
    one.close()
    assert max(map(len, batches)) <= BATCH_BYTES // LINE_COST
    *_, marker = [text for text in texts(batches) if text]
    kept = len(texts(batches)) - 1
    assert kept <= 2**20 // LINE_COST + 50
    assert marker == f"… {2**20 - kept} lines left out, of 1.0 MB …"


def test_the_last_line_counts_also_without_an_end(output, batches):
    one = output(limit=1)
    one.feed(OUT, b"1\n2\n" + b"x" * 20_000)
    one.close()
    first, marker, last = texts(batches)
    assert (first, marker, set(last)) == ("1", "… 1 lines left out, of 0.0 MB …", {"x"})


def test_nothing_more_is_handed_on_once_the_run_is_lost(clock):
    calls = []

    def refuse(lines):
        calls.append(lines)
        raise RunStopped

    one = Output(refuse, StreamRedactor({}), limit=100, clock=lambda: clock[0])
    one.feed(OUT, b"1\n")
    clock[0] = 1.0
    one.feed(OUT, b"2\n")
    one.close()
    assert len(calls) == 1


SECRET = b"correct-horse-battery-staple"


@pytest.fixture
def said(output, batches):
    """What is said of pieces of output, by a program whose variable NAME is the secret."""

    def said(*pieces, limit=10**6, value=SECRET):
        one = output(limit, NAME=value.decode())
        for piece in pieces:
            one.feed(OUT, piece)
        one.close()
        return texts(batches)

    return said


def test_a_secret_that_comes_in_pieces_does_not_show(said):
    assert said(b"it is " + SECRET[:9], SECRET[9:] + b"!\n") == ["it is [NAME]!"]


@pytest.mark.parametrize("before", range(LONGEST_LINE - len(SECRET) - 1, LONGEST_LINE + 2, 3))
@pytest.mark.parametrize("size", [1000, 2 * LONGEST_LINE])
def test_a_secret_across_the_cut_of_a_long_line_does_not_show(said, before, size):
    line = b"x" * before + SECRET + b"y" * 20_000
    lines = said(*(line[at : at + size] for at in range(0, len(line), size)))
    assert "".join(lines) == "x" * before + "[NAME]" + "y" * 20_000
    assert max(map(len, lines)) <= LONGEST_LINE


@pytest.mark.parametrize("kept", [1, 100])
@pytest.mark.parametrize("after", range(TAIL_BYTES - len(SECRET) - 1, TAIL_BYTES + 2, 3))
def test_a_secret_where_the_remembered_end_begins_does_not_show(said, kept, after):
    lines = said(b"1\n" * kept, b"x" * 9_000 + SECRET + b"y" * after, limit=kept)
    assert not any(SECRET[start : start + 4].decode() in "".join(lines) for start in range(len(SECRET) - 3))
    assert lines[-1].endswith("y" * min(after, TAIL_BYTES))


def test_a_value_of_several_lines_does_not_show_line_by_line(said):
    value = b"-----BEGIN KEY-----\r\nMIIEpAIBAAKCAQEA\nshort\n  c2VjcmV0IHRvbw==  \n"
    assert said(b"of it:\nMIIEpAIBAAKCAQEA\n  c2VjcmV0IHRvbw==\nshort\n", value=value) == [
        "of it:",
        "[NAME]",
        "  [NAME]",
        "short",
    ]


def test_values_that_contain_each_other_or_overlap_do_not_show():
    redactor = StreamRedactor({"A": "abcdefgh", "B": "abcdefghijkl", "C": "ghijklmnop"})
    assert redactor.redact(b"<abcdefgh> <abcdefghijkl> <abcdefghijklmnop>") == b"<[A]> <[B]> <[B]>"


def test_a_short_value_is_left():
    assert StreamRedactor({"A": "1234567"}).redact(b"1234567") == b"1234567"


def test_many_variables_cost_little_time(output):
    variables = {f"V{number}": f"{number:05}-value-of-a-variable\n" * 10 for number in range(200)}
    one = output(2**20, **variables)
    before = time.process_time()
    for _ in range(2**20 // 50):
        one.feed(OUT, b"x" * 49 + b"\n")
    one.close()
    assert time.process_time() - before < 2


def test_progress_shows_as_it_comes(output, batches, clock):
    one = output()
    for number, piece in enumerate((b"\r 10%", b"\r 20%", b"\r 30%")):
        clock[0] = number
        one.feed(ERR, piece)
    assert texts(batches) == [" 10%", " 20%"]
    one.feed(ERR, b"\r100%\n")
    one.close()
    assert texts(batches) == [" 10%", " 20%", " 30%", "100%"]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\r\nb\r\n"], ["a", "b"]),
        ([b"a\r", b"\nb\r", b"\n"], ["a", "b"]),
        ([b"a\r\n\r\nb"], ["a", "", "b"]),
        ([b"a\r\n\r", b"\nb"], ["a", "", "b"]),
        ([b"a\r", b"\n\nb"], ["a", "", "b"]),
        ([b"a\r\r\nb"], ["a", "b"]),
        ([b"a\rb\rc\n"], ["a", "b", "c"]),
        ([b"a\r", b"b"], ["a", "b"]),
        ([b"\r\r\ra\r"], ["a"]),
        ([b"\n\n"], ["", ""]),
        ([b"a\x00b\n"], ["a\x00b"]),
        ([b"x", b"\r", b"\r", b"y", b"\r", b"\n"], ["x", "y"]),
    ],
)
def test_each_kind_of_end_ends_one_line(output, batches, pieces, lines):
    one = output()
    for piece in pieces:
        one.feed(OUT, piece)
    one.close()
    assert texts(batches) == lines


def test_lines_that_end_as_of_two_terminals_are_no_progress(output, batches):
    """Each puts a carriage return before a line feed."""
    one = output(limit=2**20)
    lines = [f"line {number}" for number in range(2 * PROGRESS_BURST)]
    one.feed(OUT, b"".join(line.encode() + b"\r\r\n" for line in lines))
    one.close()
    assert texts(batches) == lines


def test_progress_that_nobody_could_follow_does_not_use_up_the_log(output, batches, clock):
    one = output(limit=2**20)
    for number in range(60_000):  # ten minutes
        clock[0] = number / 100
        one.feed(ERR, b"\r%5d of 60000" % number)
    one.feed(ERR, b"\nthe result\n")
    one.close()
    said = texts(batches)
    assert said[: PROGRESS_BURST // 2] == [f"{n:5d} of 60000" for n in range(PROGRESS_BURST // 2)]
    assert said[-2:] == ["59999 of 60000", "the result"]
    assert 600 < len(said) < 800


@pytest.mark.parametrize(
    ("piece", "newest"),
    [(b"\r", []), (b"12%\r", ["12%"]), (b"\r12%\r", ["12%"])],
    ids=["returns", "lines", "both"],
)
def test_progress_costs_little_time_however_much_it_is(output, batches, piece, newest):
    """Other runs of the process would wait for it: each took microseconds by itself."""
    one = output(limit=1_000_000)
    chunk = piece * (65_536 // len(piece))
    begun = time.thread_time()
    for _ in range(100):
        one.feed(OUT, chunk)
    spent = time.thread_time() - begun
    one.close()
    assert spent < 1
    assert texts(batches)[-1:] == newest
    assert len(texts(batches)) <= PROGRESS_BURST + 1


def test_the_newest_progress_shows_though_no_more_comes(output, batches, clock):
    one = output(limit=2**20)
    one.feed(ERR, b"".join(b"%d\r" % number for number in range(1000)))
    assert texts(batches)[-1:] != ["999"]
    clock[0] += one.due_in
    one.flush_if_due()
    clock[0] += 1.0
    one.flush_if_due()
    clock[0] += 1.0
    one.flush_if_due()
    assert texts(batches)[-1] == "999"
    assert one.due_in is None


def test_a_line_that_does_not_end_shows_after_a_while(output, batches, clock):
    one = output()
    one.feed(OUT, b"Name? ")
    assert one.due_in == pytest.approx(UNFINISHED_TIMEOUT)
    clock[0] = UNFINISHED_TIMEOUT
    one.flush_if_due()
    assert texts(batches) == ["Name? "]
    one.feed(OUT, b"...\n")
    one.close()
    assert texts(batches) == ["Name? ", "..."]


def test_dots_that_keep_coming_show_too(output, batches, clock):
    one = output()
    for tenth in range(100):
        clock[0] = tenth / 10
        one.feed(OUT, b".")
    assert len(texts(batches)) >= 4
    one.close()
    assert "".join(texts(batches)) == "." * 100


def test_what_is_shown_of_a_line_ends_before_a_value_that_may_begin(output, batches, clock):
    one = output(NAME=SECRET.decode())
    one.feed(OUT, b"it is " + SECRET[:9])
    clock[0] = UNFINISHED_TIMEOUT
    one.flush_if_due()
    assert texts(batches) == ["it is "]
    one.feed(OUT, SECRET[9:] + b"!\n")
    one.close()
    assert texts(batches) == ["it is ", "[NAME]!"]


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_no_character_is_cut_in_two(output, batches, clock, character):
    encoded = character.encode()
    for cut in range(1, len(encoded)):
        one = output(limit=10**6)
        one.feed(OUT, b"a" + encoded[:cut])
        clock[0] += UNFINISHED_TIMEOUT
        one.flush_if_due()
        one.feed(OUT, encoded[cut:] + b"\n")
        one.feed(OUT, b"x" * (LONGEST_LINE - cut) + encoded * 20_000 + b"\n")
        one.close()
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(texts(batches))
    assert "".join(texts(batches)).count(character) == 20_001 * (len(encoded) - 1)


def test_the_remembered_end_begins_with_a_whole_character(output, batches):
    one = output(limit=1)
    one.feed(OUT, b"1\n" + "€".encode() * 9_000)
    one.close()
    assert set(texts(batches)[-1]) == {"€"}


def test_of_progress_that_was_left_out_the_last_shows(output, batches):
    one = output(limit=1)
    one.feed(OUT, b"1\n")
    one.feed(OUT, b"\r".join(b"%d%%" % number for number in range(101)) + b"\r\n")
    one.close()
    assert texts(batches)[-1] == "100%"


def test_the_last_words_are_of_the_error_stream(output):
    one = output(NAME=SECRET.decode())
    one.feed(ERR, b"Traceback:\n  File\nValueError: " + SECRET + b"\n  \n")
    one.feed(OUT, b"bye\n")
    one.close()
    assert one.last_error_line == "ValueError: [NAME]"
