"""Where the time of a run went: its events as bars, in the units of a drawing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.lifecycle import EventType, RunStatus
from shared.runs.summaries import Mark, RunSummary

MOST_BARS: Final = 60
WIDTH: Final = 760  # units of the drawing for the whole time
LEFT: Final = 170  # units for the labels
ROW: Final = 20  # units

_PHASES: Final = {
    EventType.ASSISTANT_QUEUED: ("queued", "wait"),
    EventType.STRUCTURE_QUEUED: ("queued", "wait"),
    EventType.ASSISTANT_STARTING: ("starting", "start"),
    EventType.STRUCTURE_STARTING: ("starting", "start"),
    EventType.ASSISTANT_RUNNING: ("running", "start"),
    EventType.STRUCTURE_RUNNING: ("running", "start"),
    EventType.FINISH: ("storing", "store"),
}
_ENDS: Final = {EventType.ASSISTANT_COMPLETED, EventType.STRUCTURE_COMPLETED}
_PAIRS: Final = {
    "StartPromptEvent": (EventType.FINISH_PROMPT, "model call", "model"),
    "StartActionsSubtaskEvent": ("FinishActionsSubtaskEvent", "tool call", "tool"),
}


@dataclass(slots=True)
class Span:
    """A part of a run's time."""

    label: str
    kind: str
    start: float  # epoch seconds
    end: float | None = None  # None while it lasts


@dataclass(frozen=True, slots=True)
class Bar:
    """A span in the units of the drawing."""

    label: str
    kind: str
    x: float
    width: float
    y: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The bars of a run."""

    bars: Sequence[Bar]
    seconds: float
    left_out: int

    @property
    def height(self) -> int:
        """Units of the drawing."""
        return ROW * len(self.bars) + 24


def spans_of(marks: Iterable[Mark]) -> list[Span]:
    """Return the spans that the events of a run begin and end, in order."""
    found: list[Span] = []
    phase: Span | None = None
    open_: dict[str, Span] = {}
    for mark in marks:
        if mark.type in _PHASES or mark.type in _ENDS:
            if phase is not None:
                phase.end = mark.timestamp
            phase = None
            if mark.type in _PHASES:
                phase = Span(*_PHASES[EventType(mark.type)], mark.timestamp)
                found.append(phase)
        elif mark.type in _PAIRS:
            ends_by, label, kind = _PAIRS[mark.type]
            span = open_[str(ends_by)] = Span(label, kind, mark.timestamp)
            found.append(span)
        elif (span_ended := open_.pop(mark.type, None)) is not None:
            span_ended.end = mark.timestamp
            if mark.model:
                span_ended.label = f"model call · {mark.model}"[:40]
    return found


def waterfall_of(marks: Sequence[Mark], run: RunSummary, *, now: float) -> Waterfall:
    """Draw the time of a run.

    Args:
        marks: its events, without chunks of text.
        run: the run.
        now: epoch seconds: the end of what lasts.
    """
    spans = spans_of(marks)
    begin = run.created_at.timestamp()
    is_over = run.status in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.ERROR, RunStatus.CANCELLED}
    end = run.completed_at.timestamp() if is_over and run.completed_at is not None else now
    total = max(end - begin, 0.001)
    bars = []
    for number, span in enumerate(spans[:MOST_BARS]):
        # A program says when its events happened; a bar stays within the drawing all the same.
        start = min(max(span.start, begin), end)
        stop = min(max(span.end if span.end is not None else end, start), end)
        bars.append(
            Bar(
                span.label,
                span.kind,
                round(LEFT + (start - begin) / total * WIDTH, 1),
                round(max((stop - start) / total * WIDTH, 1.5), 1),
                ROW * number,
                stop - start,
            )
        )
    return Waterfall(bars, total, max(0, len(spans) - MOST_BARS))


@dataclass(frozen=True, slots=True)
class TokenChart:
    """The tokens of a run's model calls, added up over time, as a line in a box of 940 by 80."""

    points: str
    total: int
    calls: int


def tokens_of(marks: Sequence[Mark], *, begin: float) -> TokenChart | None:
    """Add up tokens over time; None without a model call that says how many."""
    calls = [
        (mark.timestamp, int((mark.tokens_in or 0) + (mark.tokens_out or 0)))
        for mark in marks
        if mark.type == EventType.FINISH_PROMPT
    ]
    total = sum(tokens for _, tokens in calls)
    if total <= 0:
        return None
    end = max(*(at for at, _ in calls), begin + 0.001)
    points, height, sum_ = ["0,79"], 79.0, 0
    for at, tokens in calls:
        x = min(max((at - begin) / (end - begin), 0), 1) * 940
        points.append(f"{x:.1f},{height:.1f}")
        sum_ += tokens
        height = 79 - sum_ / total * 76
        points.append(f"{x:.1f},{height:.1f}")
    return TokenChart(" ".join(points), total, len(calls))
