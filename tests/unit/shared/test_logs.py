"""A log that nobody reads, and what a traceback tells."""

import logging
import os
import threading
import warnings

import pytest

from shared.log_sink import LogSink
from shared.logs import MAX_CAUSES, frames_of


class Pipe:
    """A pipe whose reader may stop reading."""

    def __init__(self):
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")

    def lines(self):
        """Read until a line says `last`."""
        text = b""
        while b"last" not in text:
            text += os.read(self.reader, 65_536)
        return text.decode().splitlines()

    def close(self):
        self.stream.close()
        os.close(self.reader)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def log_line(sink, message):
    sink.handle(logging.LogRecord("test", logging.INFO, __file__, 0, message, (), None))


def test_a_log_that_nobody_reads_holds_nobody_up_and_says_what_is_missing(pipe):
    sink = LogSink(pipe.stream, most=500_000)
    sink.setFormatter(logging.Formatter("%(message)s %(lines)s", defaults={"lines": ""}))
    done = threading.Event()

    def run():
        for number in range(1000):
            log_line(sink, f"{number:04} {'x' * 2000}")
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(30)  # with a plain handler it would wait for ever
    sink.flush(timeout=0.01)  # waits for no longer than it may
    read = []
    reading = threading.Thread(target=lambda: read.extend(pipe.lines()), daemon=True)
    reading.start()
    sink.flush(timeout=30)
    log_line(sink, "last")
    reading.join(30)
    assert not reading.is_alive()
    numbers = [int(line[:4]) for line in read if line[:4].isdigit()]
    dropped = [int(line.split()[-1]) for line in read if line.startswith("log lines dropped")]
    assert numbers == sorted(set(numbers))
    assert 0 < len(numbers) < 1000
    assert len(numbers) + sum(dropped) == 1000


def test_a_log_that_is_gone_ends_nothing_and_is_counted():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        sink = LogSink(stream)
        for number in range(3):
            log_line(sink, str(number))
            sink.flush(timeout=30)
        assert sink._dropped == 3


def fail(depth):
    try:
        if depth:
            fail(depth - 1)
        int("plan" + "ted")
    except (ValueError, KeyError) as error:
        raise KeyError(str(error)) from error


def test_frames_tell_where_and_not_what():
    with pytest.raises(KeyError) as raised:
        fail(2 * MAX_CAUSES)
    told = frames_of(raised.value)
    assert "in fail" in told
    assert told.count("KeyError\n") == MAX_CAUSES
    assert "planted" not in told


def test_nothing_is_warned_of_when_a_process_with_a_log_forks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
