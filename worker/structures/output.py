"""What a program writes: lines, as they come, up to a bound; of the rest the end."""

import re
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
UNFINISHED: Final = 2.0  # seconds after which a line is shown as far as it has come
PROGRESS_AT_ONCE: Final = 100  # lines of progress in a row that are all kept; then one each `PROGRESS_PACE`
PROGRESS_PACE: Final = 1.0  # seconds
LAST_WORDS: Final = 500  # characters that are remembered of the last line of the error stream

_INSIDE_CHARACTERS: Final = bytes(range(0x80, 0xC0))  # of UTF-8
_ENDS: Final = re.compile(rb"[\r\n]")


class Output:
    """Makes lines of what comes in, and hands them on in batches.

    A carriage return ends a line, too: what a program overwrites on a terminal, such as a progress bar,
    is a line each time, of which no more are kept than a reader could follow. A line that does not end
    is shown as far as it has come, after `UNFINISHED`; what follows is another.

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
        self._partial_since: dict[LogStream, float] = {}
        self._after_return: dict[LogStream, bool] = dict.fromkeys(LogStream, False)
        self._progress = {stream: _Progress(clock()) for stream in LogStream}
        self._batch: list[LogLine] = []
        self._batch_bytes = 0
        self._kept = 0
        self._dropped_lines = 0
        self._dropped_bytes = 0
        self._tails: dict[LogStream, bytes] = dict.fromkeys(LogStream, b"")
        self._flush_at = float("-inf")
        self._is_over = False
        self._last_words = ""

    @property
    def due_in(self) -> float | None:
        """Seconds until `flush_if_due` has something to do; None if nothing waits."""
        times = [since + UNFINISHED for since in self._partial_since.values()]
        times += [progress.next_at for progress in self._progress.values() if progress.held is not None]
        if self._batch:
            times.append(self._flush_at)
        return max(0.0, min(times) - self._clock()) if times else None

    @property
    def last_words(self) -> str:
        """The last line of the error stream that says something, if not too long: of a traceback, why."""
        return self._last_words

    def feed(self, stream: LogStream, chunk: bytes) -> None:
        """Take what a program has written."""
        text = self._partial[stream] + chunk
        start = 0
        while not self._is_full() and (end := self._line_end(text, start)) is not None:
            start = self._take_line(stream, text, start, end)
            if self._batch_bytes >= BATCH_BYTES:
                self._flush()
        self._leave(stream, text[start:], is_new=start > 0)
        if self._is_full():
            self._drop(stream)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        now = self._clock()
        for stream, since in list(self._partial_since.items()):
            if now >= since + UNFINISHED:
                self._show_unfinished(stream)
        for stream, progress in self._progress.items():
            if (line := progress.due(now)) is not None:
                self._keep(stream, line)
        if self._batch and (self._batch_bytes >= BATCH_BYTES or now >= self._flush_at):
            self._flush()

    def close(self) -> None:
        """Hand on what is left: lines without an end, and the end of what was left out."""
        for stream in LogStream:
            self._keep_progress(stream)
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

    def _line_end(self, text: bytes, start: int) -> int | None:
        """Where the line that starts here ends; None while that is not known."""
        if found := _ENDS.search(text, start):
            return found.start()
        enough = start + LONGEST_LINE + self._blotter.longest
        if len(text) < enough:
            return None
        return start + self._cut(text[start:enough], LONGEST_LINE)

    def _take_line(self, stream: LogStream, text: bytes, start: int, end: int) -> int:
        """Keep a line, if it is one, and say where the next one starts."""
        line, ending = text[start:end], text[end : end + 1]
        was_return, self._after_return[stream] = self._after_return[stream], ending == b"\r"
        if ending == b"\r":
            if line:  # else it only takes the cursor back, as before the first line of progress
                self._add_progress(stream, text, line, end)
            else:
                self._after_return[stream] = was_return
        elif line or ending != b"\n" or not was_return:  # else the other half of a \r\n
            self._keep_progress(stream)
            self._keep(stream, line)
        return end + len(ending) if ending in {b"\r", b"\n"} else end

    def _add_progress(self, stream: LogStream, text: bytes, line: bytes, end: int) -> None:
        """Keep what a carriage return ended: an ordinary line if a line feed follows, else progress."""
        if text[end + 1 : end + 2] == b"\n":
            self._keep_progress(stream)
            self._keep(stream, line)
        elif self._progress[stream].takes(line, self._clock()):
            self._keep(stream, line)

    def _keep_progress(self, stream: LogStream) -> None:
        """Keep the progress that was last held back: something else follows it."""
        if (line := self._progress[stream].taken()) is not None:
            self._keep(stream, line)

    def _leave(self, stream: LogStream, rest: bytes, *, is_new: bool) -> None:
        """Remember the beginning of a line, and since when it is there."""
        self._partial[stream] = rest
        if not rest:
            self._partial_since.pop(stream, None)
        elif is_new or stream not in self._partial_since:
            self._partial_since[stream] = self._clock()

    def _show_unfinished(self, stream: LogStream) -> None:
        """Keep the beginning of a line, but for what may be the beginning of a value or of a character."""
        text = self._partial[stream]
        end = _whole_characters(text, self._blotter.open_from(text))
        if end:
            self._keep_progress(stream)
            self._keep(stream, text[:end])
            self._after_return[stream] = False
        self._partial_since.pop(stream)
        self._leave(stream, text[end:], is_new=True)

    def _cut(self, text: bytes, at: int) -> int:
        """Where to cut so that neither a value nor a character is in two; never at the start."""
        return self._blotter.cut(text, _whole_characters(text, at) or at)

    def _keep(self, stream: LogStream, line: bytes) -> None:
        line = self._blotter.blot(line)
        start = 0
        while start < len(line) or start == 0:
            end = start + LONGEST_LINE
            end = _whole_characters(line, end) if end < len(line) else end
            part = line[start:end]
            text = part.decode(errors="replace")
            self._batch.append(LogLine(stream, text))
            self._batch_bytes += len(part) + LINE_COST
            self._kept += len(part) + LINE_COST
            if stream is LogStream.STDERR and not text.isspace() and text:
                self._last_words = text.strip()[:LAST_WORDS]
            start = end

    def _drop(self, stream: LogStream) -> None:
        """Count what there is of a stream; remember its end, and as much before it as a value may take."""
        text, self._partial[stream] = self._partial[stream], b""
        self._partial_since.pop(stream, None)
        self._dropped_lines += text.count(b"\n")
        self._dropped_bytes += len(text)
        tail = self._tails[stream] + text
        most = TAIL_BYTES + self._blotter.longest
        self._tails[stream] = tail if len(tail) <= most else tail[-most:].lstrip(_INSIDE_CHARACTERS)

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
            start = line_start if 0 < line_start < len(tail) else self._cut(tail, start)
        if not tail:
            return []
        lines = tail[start:].removesuffix(b"\n").split(b"\n")
        shown = (line.removesuffix(b"\r").rpartition(b"\r")[2] for line in lines)  # as a terminal would
        return list(shown)[-TAIL_LINES:]

    def _flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._flush_at = self._clock() + FLUSH
        if not batch or self._is_over:
            return
        try:
            self._write_lines(batch)
        except RunStopped:
            self._is_over = True  # nobody keeps the rest; the program is drained until it is gone


class _Progress:
    """Which lines of progress of a stream are kept: many at once, but in the long run one each pace."""

    def __init__(self, now: float) -> None:
        self._left = float(PROGRESS_AT_ONCE)
        self._counted_at = now
        self.held: bytes | None = None  # the newest, if it was not kept
        self.next_at = 0.0  # when one is to be kept again

    def takes(self, line: bytes, now: float) -> bool:
        """Whether a line is kept; if not it is held, in the place of the one before."""
        self._left = min(self._left + (now - self._counted_at) / PROGRESS_PACE, PROGRESS_AT_ONCE)
        self._counted_at = now
        if self._left < 1:
            self.next_at = now + (1 - self._left) * PROGRESS_PACE
            self.held = line
            return False
        self._left -= 1
        self.held = None
        return True

    def due(self, now: float) -> bytes | None:
        """The line that is held, once it is its time."""
        if self.held is None or now < self.next_at:
            return None
        line = self.held
        return line if self.takes(line, now) else None

    def taken(self) -> bytes | None:
        """The line that is held, whatever the time."""
        line, self.held = self.held, None
        return line


def _whole_characters(text: bytes, end: int) -> int:
    """The last place up to `end` at which no character of UTF-8 is cut; `end` if there is no character."""
    for start in range(end - 1, max(end - 5, -1), -1):
        byte = text[start] if start < len(text) else 0
        if byte & 0xC0 == 0x80:  # noqa: PLR2004  # inside a character
            continue
        length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4  # noqa: PLR2004
        return start if start + length > end else end
    return end
