"""The sink of log lines: a thread writes them, so that a log that hangs holds nobody up."""

import contextlib
import io
import logging
import os
import threading
import weakref
from collections import deque
from typing import Final, TextIO

MAX_WAITING: Final = 4 * 1_048_576
"""Characters of lines that may wait for the log; further lines are dropped and counted."""

MAX_WRITE: Final = 65_536  # characters that are written at once, unless one line is longer

FLUSH_TIMEOUT: Final = 1.0  # seconds that the end of a process waits for the log

FORK_TIMEOUT: Final = 0.2  # seconds that a fork waits for the log


class LogSink(logging.Handler):
    """Formats a line in the thread that logs it, and writes it in its own.

    Whoever reads the log may stop reading: a pipe fills, a disk hangs. Then lines wait, up to `MAX_WAITING`
    characters, and later ones are dropped. Once the log is read again, a line says how many were dropped.
    A process that is killed loses the lines of its last moment.
    """

    def __init__(self, stream: TextIO, *, most: int = MAX_WAITING) -> None:
        """Make the sink of a stream.

        Args:
            stream: where lines go; its file descriptor is used, if it has one.
            most: characters that may wait.
        """
        super().__init__()
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._most = most
        self._thread: threading.Thread | None = None
        self._begin()
        _sinks.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; never wait for the log."""
        try:
            line = f"{self.format(record)}\n"
        except Exception as error:  # noqa: BLE001  # logging's own way would print the arguments
            line = self._made("log line not made", of=record.name, error_type=type(error).__name__)
        with self._changed:
            if self._waiting + len(line) > self._most:
                self._dropped += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            self._changed.notify()
            if self._thread is None:
                self._thread = self._started()

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Wait until every line is written, for `timeout` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting <= 0, timeout)

    def stop(self, timeout: float) -> None:
        """Write what waits and end the thread, within `timeout` seconds; the next line starts another."""
        with self._changed:
            thread, self._is_stopping = self._thread, True
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        with self._changed:
            self._is_stopping = False

    def begin_after_fork(self) -> None:
        """Begin anew in a forked child, whose parent writes the lines that waited."""
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._waiting = 0  # characters of the lines that are not written yet
        self._dropped = 0
        self._is_stopping = False
        self._thread = None

    def _started(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may have no more threads; the next line tries again
            return None
        return thread

    def _run(self) -> None:
        while (lines := self._next()) is not None:
            with self._changed:
                dropped, self._dropped = self._dropped, 0
            told = [self._made("log lines dropped", lines=dropped)] if dropped else []
            is_written = self._write("".join([*told, *lines]))
            with self._changed:
                self._waiting -= sum(map(len, lines))
                self._dropped += 0 if is_written else dropped + len(lines)
                self._changed.notify_all()

    def _next(self) -> list[str] | None:
        """Wait for lines and take some; None if the thread is to end."""
        with self._changed:
            while not self._lines:
                if self._is_stopping:
                    self._thread = None
                    return None
                self._changed.wait()
            lines: list[str] = []
            size = 0
            while self._lines and (not size or size + len(self._lines[0]) <= MAX_WRITE):
                size += len(self._lines[0])
                lines.append(self._lines.popleft())
            return lines

    def _made(self, event: str, **fields: object) -> str:
        """Make a line of the sink's own."""
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, event, (), None)
        record.__dict__.update(fields)
        return f"{self.format(record)}\n"

    def _write(self, text: str) -> bool:
        """Write lines; return whether that worked. Nobody could be told here."""
        try:
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
                return True
            # Not through the stream: a child forked meanwhile would inherit its locked buffer.
            rest = memoryview(text.encode("utf-8", "backslashreplace"))
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except (OSError, ValueError):  # nobody reads the pipe any more, the disk is full, it is closed
            return False
        return True


_sinks: "weakref.WeakSet[LogSink]" = weakref.WeakSet()


def _descriptor_of(stream: TextIO) -> int | None:
    with contextlib.suppress(io.UnsupportedOperation, OSError, ValueError, AttributeError):
        return stream.fileno()
    return None


def _stop_all() -> None:
    for sink in list(_sinks):
        sink.stop(FORK_TIMEOUT)


def _begin_all() -> None:
    for sink in list(_sinks):
        sink.begin_after_fork()


os.register_at_fork(before=_stop_all, after_in_child=_begin_all)
