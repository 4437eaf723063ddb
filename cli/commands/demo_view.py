"""Views of the demonstration's run: on a terminal the growing answer, in a pipe every event."""

import threading
from datetime import datetime, timedelta
from typing import Protocol

from cli import timeline
from cli.client import Event
from cli.console import is_terminal, output, output_line
from shared.lifecycle import RunStatus
from shared.processes.invocation import runyard


class View(Protocol):
    """Shows the events of a run."""

    def show(self, event: Event, *, after: timedelta) -> None:
        """Show an event, with the time since the creation of the run."""

    def close(self) -> None:
        """End an open line."""


class Lines:
    """A line per event."""

    def __init__(self, since: datetime) -> None:
        self._since = since

    def show(self, event: Event, *, after: timedelta) -> None:
        del after
        output_line(timeline.line_of(event, since=self._since))

    def close(self) -> None:
        """No line is left open."""


class GrowingAnswer:
    """The statuses of the run, a line each, and between them the growing answer."""

    def __init__(self) -> None:
        self._is_in_line = False

    def show(self, event: Event, *, after: timedelta) -> None:
        match event:
            case Event(type="TextChunkEvent", payload={"token": str(token)}):
                if not self._is_in_line:
                    output("")
                output(token, end="")
                self._is_in_line = True
            case Event(origin="SYSTEM", payload={"status": str(status)}):
                self.close()
                output_line(f"{status:<10}{milliseconds(after):>7} ms")

    def close(self) -> None:
        if self._is_in_line:
            output("\n")
        self._is_in_line = False


class Showing:
    """Shows a run until `stop`. Thread-safe."""

    def __init__(self, since: datetime) -> None:
        self._view: View = GrowingAnswer() if is_terminal() else Lines(since)
        self._since = since
        self._lock = threading.Lock()
        self._is_stopped = False
        self._events = 0
        self._first = self._last = timedelta()

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def show(self, event: Event) -> None:
        """Show an event, unless stopped."""
        after = event.created_at - self._since
        with self._lock:
            if self._is_stopped:
                return
            self._view.show(event, after=after)
            if self._events == 0:
                self._first = after
            self._events += 1
            self._last = after

    def stop(self) -> None:
        """Stop showing events; none is shown after the return."""
        with self._lock:
            self._is_stopped = True
            self._view.close()

    def summary(self, status: RunStatus) -> str:
        """Three lines: number of events, their times, and the next step."""
        first, last = map(milliseconds, (self._first, self._last))
        return "\n".join(
            (
                f"{self._events} events, each stored before it was shown. The run ended: {status}.",
                f"From its creation to the first event: {first} ms; to the last: {last} ms.",
                f"Next: `{runyard('dev')}` keeps everything running for `{runyard('run')}`.",
            )
        )


def milliseconds(span: timedelta) -> int:
    """A span of time in whole milliseconds."""
    return round(span.total_seconds() * 1000)
