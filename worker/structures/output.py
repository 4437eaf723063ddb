"""What a program writes: lines, as they come, up to a bound; of the rest the end."""

import time
from collections.abc import Callable
from typing import Final

from worker.cancellation import RunStopped
from worker.executors.base import LogLine, LogStream, WriteLines

FLUSH: Final = 0.1  # seconds between two batches
BATCH_BYTES: Final = 64 * 1024
LONGEST_LINE: Final = 16 * 1024  # bytes; a longer one is several
TAIL_BYTES: Final = 8 * 1024  # of each stream
TAIL_LINES: Final = 50  # of each stream


class Output:
    """Makes lines of what comes in, and hands them on in batches.

    The first `limit` bytes are kept; what follows is counted, and only its end is remembered.
    """

    def __init__(
        self, write_lines: WriteLines, *, limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write_lines = write_lines
        self._limit = limit
        self._clock = clock
        self._partial: dict[LogStream, bytes] = dict.fromkeys(LogStream, b"")
        self._batch: list[LogLine] = []
        self._batch_bytes = 0
        self._kept = 0
        self._dropped_lines = 0
        self._dropped_bytes = 0
        self._tails: dict[LogStream, bytes] = dict.fromkeys(LogStream, b"")
        self._flush_at = float("-inf")
        self._is_over = False

    @property
    def due_in(self) -> float | None:
        """Seconds until lines that wait are to be handed on; None if there are none."""
        return max(0.0, self._flush_at - self._clock()) if self._batch else None

    def feed(self, stream: LogStream, chunk: bytes) -> None:
        """Take what a program has written."""
        if self._is_full():
            self._drop(stream, chunk)
            return
        *lines, rest = (self._partial[stream] + chunk).split(b"\n")
        self._partial[stream] = b""
        while len(rest) >= LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        for number, line in enumerate(lines):
            if self._is_full():
                self._drop(stream, b"\n".join([*lines[number:], rest]))
                return
            self._keep(stream, line)
        self._partial[stream] = rest
        self.flush_if_due()

    def flush_if_due(self) -> None:
        if self._batch and (self._batch_bytes >= BATCH_BYTES or self._clock() >= self._flush_at):
            self._flush()

    def close(self) -> None:
        """Hand on what is left: lines without an end, and the end of what was left out."""
        for stream in LogStream:
            if self._partial[stream]:
                self._keep(stream, self._partial[stream])
        if self._dropped_bytes:
            self._tell_of_the_rest()
        self._flush()

    def _is_full(self) -> bool:
        return self._kept >= self._limit

    def _keep(self, stream: LogStream, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LONGEST_LINE):
            part = line[start : start + LONGEST_LINE]
            self._batch.append(LogLine(stream, part.removesuffix(b"\r").decode(errors="replace")))
            self._batch_bytes += len(part) + 1
            self._kept += len(part) + 1

    def _drop(self, stream: LogStream, chunk: bytes) -> None:
        self._dropped_lines += chunk.count(b"\n")
        self._dropped_bytes += len(chunk)
        self._tails[stream] = (self._tails[stream] + chunk)[-TAIL_BYTES:]
        self.flush_if_due()

    def _tell_of_the_rest(self) -> None:
        tails = {stream: _whole_lines(tail) for stream, tail in self._tails.items()}
        lines = max(0, self._dropped_lines - sum(map(len, tails.values())))
        size = self._dropped_bytes / 1e6
        self._batch.append(LogLine(LogStream.STDERR, f"… {lines} lines left out, of {size:.1f} MB …"))
        for stream, tail in tails.items():
            for line in tail:
                self._keep(stream, line)

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._flush_at = self._clock() + FLUSH
        if not batch or self._is_over:
            return
        try:
            self._write_lines(batch)
        except RunStopped:
            self._is_over = True  # nobody keeps the rest; the program is drained until it is gone


def _whole_lines(tail: bytes) -> list[bytes]:
    """The last lines of a tail, without the one that it may begin in the middle of."""
    lines = tail.split(b"\n")
    if len(tail) == TAIL_BYTES:
        lines = lines[1:] or lines
    if lines and not lines[-1]:
        lines.pop()
    return lines[-TAIL_LINES:]
