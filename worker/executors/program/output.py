"""A program's output: lines in batches, up to a limit; of the rest only the end."""

import re
import time
from collections.abc import Callable
from typing import Final

from worker.cancellation import RunStopped
from worker.executors.base import LogLine, LogStream, WriteLines
from worker.redaction import StreamRedactor

FLUSH_INTERVAL: Final = 0.1  # seconds
BATCH_BYTES: Final = 64 * 1024
LINE_COST: Final = 64  # bytes that each line counts beside its text
LONGEST_LINE: Final = 16 * 1024  # bytes; a longer line is split
TAIL_BYTES: Final = 8 * 1024  # of each stream
TAIL_LINES: Final = 50  # of each stream
UNFINISHED_TIMEOUT: Final = 2.0  # seconds until the beginning of a line is shown without its end
PROGRESS_BURST: Final = 100  # progress lines that are all kept; then one each PROGRESS_INTERVAL
PROGRESS_INTERVAL: Final = 1.0  # seconds
MAX_LAST_LINE: Final = 500  # characters

_INSIDE_CHARACTERS: Final = bytes(range(0x80, 0xC0))  # of UTF-8
_ENDS: Final = re.compile(rb"[\r\n]")
_RETURNS: Final = re.compile(rb"\r{2,}")


class Output:
    """Splits output into lines, redacts them, and passes them on in batches.

    A carriage return ends a line, too: each update of a progress bar is a line, and their rate is limited.
    The beginning of an unfinished line is shown after UNFINISHED_TIMEOUT; the rest is another line.

    The first `limit` bytes are kept, LINE_COST for each line included. The rest is counted, and its end is
    kept.
    """

    def __init__(
        self,
        write_lines: WriteLines,
        redactor: StreamRedactor,
        *,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write_lines = write_lines
        self._redactor = redactor
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
        self._last_error_line = ""

    @property
    def due_in(self) -> float | None:
        """Seconds until `flush_if_due` has work; None if nothing waits."""
        times = [since + UNFINISHED_TIMEOUT for since in self._partial_since.values()]
        times += [progress.next_at for progress in self._progress.values() if progress.held is not None]
        if self._batch:
            times.append(self._flush_at)
        return max(0.0, min(times) - self._clock()) if times else None

    @property
    def last_error_line(self) -> str:
        """The last line of the error stream that is not blank; of a traceback, the error."""
        return self._last_error_line

    def feed(self, stream: LogStream, chunk: bytes) -> None:
        """Take a chunk of output."""
        text = self._partial[stream] + chunk
        if not self._is_full():
            text = _RETURNS.sub(b"\r", text)  # many of them move the cursor where one does
        start = 0
        while not self._is_full() and (end := self._line_end(text, start)) is not None:
            start = self._take_line(stream, text, start, end)
            start = self._past_progress(stream, text, start)
            if self._batch_bytes >= BATCH_BYTES:
                self._flush()
        self._set_partial(stream, text[start:], is_new=start > 0)
        if self._is_full():
            self._drop(stream)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        now = self._clock()
        for stream, since in list(self._partial_since.items()):
            if now < since + UNFINISHED_TIMEOUT:
                continue
            text = self._partial[stream]  # shown up to a possible beginning of a secret or of a character
            end = _whole_characters(text, self._redactor.open_from(text))
            if end:
                self._keep_progress(stream)
                self._keep(stream, text[:end])
                self._after_return[stream] = False
            self._partial_since.pop(stream)
            self._set_partial(stream, text[end:], is_new=True)
        for stream, progress in self._progress.items():
            if (line := progress.due(now)) is not None:
                self._keep(stream, line)
        if self._batch and (self._batch_bytes >= BATCH_BYTES or now >= self._flush_at):
            self._flush()

    def close(self) -> None:
        """Pass on the unfinished lines, and the end of the output beyond the limit."""
        for stream in LogStream:
            self._keep_progress(stream)
            if self._is_full():
                self._drop(stream)
            elif self._partial[stream]:
                self._keep(stream, self._partial[stream])
            if self._tails[stream] and not self._tails[stream].endswith(b"\n"):
                self._dropped_lines += 1
        if self._dropped_bytes:
            tails = {stream: self._last_lines(tail) for stream, tail in self._tails.items()}
            lines = max(0, self._dropped_lines - sum(map(len, tails.values())))
            size = self._dropped_bytes / 1e6
            self._batch.append(LogLine(LogStream.STDERR, f"… {lines} lines left out, of {size:.1f} MB …"))
            for stream, tail in tails.items():
                for line in tail:
                    self._keep(stream, line)
        self._flush()

    def _is_full(self) -> bool:
        return self._kept >= self._limit

    def _line_end(self, text: bytes, start: int) -> int | None:
        """Return the end of the line that starts at `start`; None while it is unknown."""
        if found := _ENDS.search(text, start):
            return found.start()
        enough = start + LONGEST_LINE + self._redactor.longest
        if len(text) < enough:
            return None
        return start + self._cut(text[start:enough], LONGEST_LINE)

    def _take_line(self, stream: LogStream, text: bytes, start: int, end: int) -> int:
        """Keep a line unless it is empty; return the start of the next one."""
        line, ending = text[start:end], text[end : end + 1]
        was_return, self._after_return[stream] = self._after_return[stream], ending == b"\r"
        if ending == b"\r":
            if not line:  # it only moves the cursor, as before the first progress line
                self._after_return[stream] = was_return
            elif text[end + 1 : end + 2] == b"\n":  # an ordinary line
                self._keep_progress(stream)
                self._keep(stream, line)
            elif self._progress[stream].takes(line, self._clock()):
                self._keep(stream, line)
        elif line or ending != b"\n" or not was_return:  # else the second half of a \r\n
            self._keep_progress(stream)
            self._keep(stream, line)
        return end + len(ending) if ending in {b"\r", b"\n"} else end

    def _past_progress(self, stream: LogStream, text: bytes, start: int) -> int:
        """Return the start of the newest progress line before the next line feed, if all are held back.

        A program may print more of them than could be taken one by one.
        """
        if not self._progress[stream].is_used_up(self._clock()):
            return start
        end = text.find(b"\n", start)
        newest = text.rfind(b"\r", start, (end if end >= 0 else len(text)) - 1)  # the last may end a \r\n
        return max(start, text.rfind(b"\r", start, newest) + 1) if newest >= 0 else start

    def _keep_progress(self, stream: LogStream) -> None:
        """Keep the progress line that was held back, before another line."""
        if (line := self._progress[stream].taken()) is not None:
            self._keep(stream, line)

    def _set_partial(self, stream: LogStream, rest: bytes, *, is_new: bool) -> None:
        """Store the beginning of a line, and the time of its first byte."""
        self._partial[stream] = rest
        if not rest:
            self._partial_since.pop(stream, None)
        elif is_new or stream not in self._partial_since:
            self._partial_since[stream] = self._clock()

    def _cut(self, text: bytes, at: int) -> int:
        """Return the position near `at` at which a cut splits no secret and no character; never 0."""
        return self._redactor.cut(text, _whole_characters(text, at) or at)

    def _keep(self, stream: LogStream, line: bytes) -> None:
        line = self._redactor.redact(line)
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
                self._last_error_line = text.strip()[:MAX_LAST_LINE]
            start = end

    def _drop(self, stream: LogStream) -> None:
        """Count the pending output of a stream as dropped; keep its end, with room for a secret."""
        text, self._partial[stream] = self._partial[stream], b""
        self._partial_since.pop(stream, None)
        self._dropped_lines += text.count(b"\n")
        self._dropped_bytes += len(text)
        tail = self._tails[stream] + text
        most = TAIL_BYTES + self._redactor.longest
        self._tails[stream] = tail if len(tail) <= most else tail[-most:].lstrip(_INSIDE_CHARACTERS)

    def _last_lines(self, tail: bytes) -> list[bytes]:
        """Return the last lines of a tail; of a longer line, its end."""
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
        self._flush_at = self._clock() + FLUSH_INTERVAL
        if not batch or self._is_over:
            return
        try:
            self._write_lines(batch)
        except RunStopped:
            self._is_over = True  # the run was lost: the rest is read and discarded


class _Progress:
    """Limits the progress lines of a stream: a burst of PROGRESS_BURST, then one each PROGRESS_INTERVAL."""

    def __init__(self, now: float) -> None:
        self._left = float(PROGRESS_BURST)
        self._counted_at = now
        self.held: bytes | None = None  # the newest, if it was not kept
        self.next_at = 0.0  # when the next line can be kept

    def takes(self, line: bytes, now: float) -> bool:
        """Return whether to keep a line; else hold it instead of the one before."""
        self._left, self._counted_at = self._left_at(now), now
        if self._left < 1:
            self.next_at = now + (1 - self._left) * PROGRESS_INTERVAL
            self.held = line
            return False
        self._left -= 1
        self.held = None
        return True

    def is_used_up(self, now: float) -> bool:
        """Whether the next line would be held."""
        return self._left_at(now) < 1

    def _left_at(self, now: float) -> float:
        return min(self._left + (now - self._counted_at) / PROGRESS_INTERVAL, PROGRESS_BURST)

    def due(self, now: float) -> bytes | None:
        """Return the held line once it is due, else None."""
        if self.held is None or now < self.next_at:
            return None
        line = self.held
        return line if self.takes(line, now) else None

    def taken(self) -> bytes | None:
        """Return the held line, due or not."""
        line, self.held = self.held, None
        return line


def _whole_characters(text: bytes, end: int) -> int:
    """Return the last position up to `end` that splits no UTF-8 character; `end` if there is none."""
    for start in range(end - 1, max(end - 5, -1), -1):
        byte = text[start] if start < len(text) else 0
        if byte & 0xC0 == 0x80:  # noqa: PLR2004  # inside a character
            continue
        length = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4  # noqa: PLR2004
        return start if start + length > end else end
    return end
