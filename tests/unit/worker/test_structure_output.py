"""Lines of a program's output."""

import pytest

from worker.cancellation import RunStopped
from worker.executors.base import LogLine, LogStream
from worker.structures.output import LONGEST_LINE, Output

OUT, ERR = LogStream.STDOUT, LogStream.STDERR


@pytest.fixture
def batches():
    return []


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def output(batches, clock):
    return lambda limit=1000: Output(batches.append, limit=limit, clock=lambda: clock[0])


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
    one = output(limit=20)
    for number in range(10_000):
        one.feed(OUT, b"%05d\n" % number)
    one.close()
    said = texts(batches)
    assert said[:4] == ["00000", "00001", "00002", "00003"]
    assert said[-1] == "09999"
    (marker,) = [text for text in said if "left out" in text]
    assert int(marker.split()[1]) + len(said) - 1 == 10_000


def test_nothing_more_is_handed_on_once_the_run_is_lost(clock):
    calls = []

    def refuse(lines):
        calls.append(lines)
        raise RunStopped

    one = Output(refuse, limit=100, clock=lambda: clock[0])
    one.feed(OUT, b"1\n")
    clock[0] = 1.0
    one.feed(OUT, b"2\n")
    one.close()
    assert len(calls) == 1
