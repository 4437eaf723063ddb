"""What a program writes: lines, as they come, up to a bound; of the rest the end."""

import time
from collections.abc import Callable
from typing import Final

from worker.cancellation import RunStopped
from worker.executors.base import LogLine, LogStream, WriteLines
from worker.structures.blotter import Blotter

FLUSH: Final = 0.1  # seconds between two batches
BATCH_BYTES: Final = 64 * 1024
LINE_COST: Final = 64  # bytes that a line counts beside its own; keeping one takes more than its text
LONGEST_LINE: Final = 16 * 1024  # bytes; a longer one is several
TAIL_BYTES: Final = 8 * 1024  # of each stream
TAIL_LINES: Final = 50  # of each stream


class Output:
    """Makes lines of what comes in, and hands them on in batches.

    The first `limit` bytes are kept, each line at its cost; what follows is counted, and only its end is
    remembered.
    """

    def __init__(
        self,
        write_lines: WriteLines,
        blotter: Blotter,
        *,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write_lines = write_lines
        self._blotter = blotter
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
        text = self._partial[stream] + chunk
        start = 0
        while not self._is_full() and (bounds := self._line(text, start)):
            end, following = bounds
            self._keep(stream, text[start:end])
            start = following
            if self._batch_bytes >= BATCH_BYTES:
                self._flush()
        self._partial[stream] = text[start:]
        if self._is_full():
            self._drop(stream)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        if self._batch and (self._batch_bytes >= BATCH_BYTES or self._clock() >= self._flush_at):
            self._flush()

    def close(self) -> None:
        """Hand on what is left: lines without an end, and the end of what was left out."""
        for stream in LogStream:
            if self._is_full():
                self._drop(stream)
            elif self._partial[stream]:
                self._keep(stream, self._partial[stream])
            if self._tails[stream] and not self._tails[stream].endswith(b"\n"):
                self._dropped_lines += 1
        if self._dropped_bytes:
            self._tell_of_the_rest()
        self._flush()

    def _is_full(self) -> bool:
        return self._kept >= self._limit

    def _line(self, text: bytes, start: int) -> tuple[int, int] | None:
        """Where the line that starts here ends, and the next one starts; None while that is not known."""
        end = text.find(b"\n", start)
        if end >= 0:
            return end, end + 1
        enough = start + LONGEST_LINE + self._blotter.longest
        if len(text) < enough:
            return None
        end = start + self._blotter.cut(text[start:enough], LONGEST_LINE)
        return end, end

    def _keep(self, stream: LogStream, line: bytes) -> None:
        line = self._blotter.blot(line)
        for start in range(0, max(len(line), 1), LONGEST_LINE):
            part = line[start : start + LONGEST_LINE]
            self._batch.append(LogLine(stream, part.removesuffix(b"\r").decode(errors="replace")))
            self._batch_bytes += len(part) + LINE_COST
            self._kept += len(part) + LINE_COST

    def _drop(self, stream: LogStream) -> None:
        """Count what there is of a stream; remember its end, and as much before it as a value may take."""
        text, self._partial[stream] = self._partial[stream], b""
        self._dropped_lines += text.count(b"\n")
        self._dropped_bytes += len(text)
        self._tails[stream] = (self._tails[stream] + text)[-TAIL_BYTES - self._blotter.longest :]

    def _tell_of_the_rest(self) -> None:
        tails = {stream: self._last_lines(tail) for stream, tail in self._tails.items()}
        lines = max(0, self._dropped_lines - sum(map(len, tails.values())))
        size = self._dropped_bytes / 1e6
        self._batch.append(LogLine(LogStream.STDERR, f"… {lines} lines left out, of {size:.1f} MB …"))
        for stream, tail in tails.items():
            for line in tail:
                self._keep(stream, line)

    def _last_lines(self, tail: bytes) -> list[bytes]:
        """The last lines of a tail; of one that is longer than all that is shown, the end."""
        start = max(0, len(tail) - TAIL_BYTES)
        if start:
            line_start = tail.find(b"\n", start - 1) + 1
            start = line_start if 0 < line_start < len(tail) else self._blotter.cut(tail, start)
        return tail[start:].removesuffix(b"\n").split(b"\n")[-TAIL_LINES:] if tail else []

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._flush_at = self._clock() + FLUSH
        if not batch or self._is_over:
            return
        try:
            self._write_lines(batch)
        except RunStopped:
            self._is_over = True  # nobody keeps the rest; the program is drained until it is gone
