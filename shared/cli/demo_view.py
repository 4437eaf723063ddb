"""What the demonstration shows of its run: to a person the answer as it grows, to a program every event."""

import threading
from datetime import datetime, timedelta
from typing import Protocol

from shared.cli import timeline
from shared.cli.client import Event
from shared.cli.console import is_terminal, output, output_line
from shared.cli.invocation import runyard
from shared.runs.lifecycle import RunStatus


class View(Protocol):
    """A way to show a run's events."""

    def show(self, event: Event, *, after: timedelta) -> None:
        """Show one more, and when it came, counted from the creation of the run."""

    def close(self) -> None:
        """End a line that was begun."""


class Lines:
    """A line for each event."""

    def __init__(self, since: datetime) -> None:
        self._since = since

    def show(self, event: Event, *, after: timedelta) -> None:
        del after
        output_line(timeline.line_of(event, since=self._since))

    def close(self) -> None:
        """No line is left open."""


class GrowingAnswer:
    """The moves of the run, a line each, and between them its answer as it grows."""

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
    """Shows a run until it has ended or nobody wants to see more; callable from any thread."""

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
        """Show an event; nothing after `stop`."""
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
        """Show nothing more, from the moment this returns."""
        with self._lock:
            self._is_stopped = True
            self._view.close()

    def summary(self, status: RunStatus) -> str:
        """What was shown, in three lines: how much, how fast, and where to go from here."""
        first, last = map(milliseconds, (self._first, self._last))
        return "\n".join(
            (
                f"{self._events} events, each stored before it was shown; the run ended: {status}.",
                f"From its creation to the first: {first} ms; to the last: {last} ms.",
                f"Next: `{runyard('dev')}` starts it all to stay; README.md has a walk through the API.",
            )
        )


def milliseconds(span: timedelta) -> int:
    """A span of time in whole milliseconds."""
    return round(span.total_seconds() * 1000)
