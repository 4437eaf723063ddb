"""Lines of a program's output."""

import time

import pytest

from worker.cancellation import RunStopped
from worker.executors.base import LogLine, LogStream
from worker.structures.blotter import Blotter
from worker.structures.output import BATCH_BYTES, LINE_COST, LONGEST_LINE, TAIL_BYTES, Output

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
        return Output(batches.append, Blotter(variables), limit=limit, clock=lambda: clock[0])

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

    one = Output(refuse, Blotter({}), limit=100, clock=lambda: clock[0])
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
    blotter = Blotter({"A": "abcdefgh", "B": "abcdefghijkl", "C": "ghijklmnop"})
    assert blotter.blot(b"<abcdefgh> <abcdefghijkl> <abcdefghijklmnop>") == b"<[A]> <[B]> <[B]>"


def test_a_short_value_is_left():
    assert Blotter({"A": "1234567"}).blot(b"1234567") == b"1234567"


def test_many_variables_cost_little_time(output):
    variables = {f"V{number}": f"{number:05}-value-of-a-variable\n" * 10 for number in range(200)}
    one = output(2**20, **variables)
    before = time.process_time()
    for _ in range(2**20 // 50):
        one.feed(OUT, b"x" * 49 + b"\n")
    one.close()
    assert time.process_time() - before < 2
