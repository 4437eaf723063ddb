"""Figures: medians with their spread, their targets, and their ratio to a limit measured in the same run."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH: Final = 120  # columns of the printed table
LARGE: Final = 100  # from here on, no decimals


class TimeIsUpError(SystemExit):
    """A scenario has been broken off. Event loops let exits through, and only these."""


class Better(StrEnum):
    """Which way a figure gets better."""

    HIGHER = "≥"
    LOWER = "≤"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach."""

    better: Better
    value: float

    def is_met(self, value: float) -> bool:
        return value >= self.value if self.better is Better.HIGHER else value <= self.value

    def __str__(self) -> str:
        return f"{self.better} {self.value:g}"


def at_least(value: float) -> Target:
    """A target for what should be high."""
    return Target(Better.HIGHER, value)


def at_most(value: float) -> Target:
    """A target for what should be low."""
    return Target(Better.LOWER, value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    Attributes:
        samples: one value a round; the median is the figure. None if nothing was measured, as the note says.
        limit: the same machine's most (or least), in the same unit and the same session.
        limit_target: the share of the limit to reach.
    """

    scenario: str
    name: str
    unit: str = ""
    samples: tuple[float, ...] = ()
    target: Target | None = None
    limit: float | None = None
    limit_target: Target | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of the limit."""
        return None if not self.limit or self.median is None else self.median / self.limit

    @property
    def verdict(self) -> str:
        """Whether every target of the figure is reached; empty if there is nothing to judge."""
        pairs = ((self.target, self.median), (self.limit_target, self.ratio))
        reached = [target.is_met(value) for target, value in pairs if target and value is not None]
        if not reached:
            return ""
        return "reached" if all(reached) else "missed"

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "target": None if self.target is None else str(self.target),
            "limit_target": None if self.limit_target is None else str(self.limit_target),
            "median": self.median,
            "ratio": self.ratio,
            "verdict": self.verdict,
        }


class Rounds:
    """Samples by figure, gathered over the rounds of a scenario."""

    def __init__(self, scenario: str) -> None:
        self._scenario = scenario
        self._samples: dict[tuple[str, str], list[float]] = {}
        self._more: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, name: str, unit: str, value: float, **more: Any) -> None:
        """Add one round's value; `more` are fields of the Figure, the last round's count."""
        self._samples.setdefault((name, unit), []).append(value)
        self._more[name, unit] = more

    def figures(self, note: str = "") -> list[Figure]:
        """One figure a name; `note` stands at the first of them."""
        found: list[Figure] = []
        for (name, unit), samples in self._samples.items():
            more = self._more[name, unit]
            if note and not found:
                more = {**more, "note": "; ".join(filter(None, (more.get("note"), note)))}
            found.append(Figure(self._scenario, name, unit, tuple(samples), **more))
        return found


def in_rounds(
    rounds: int,
    scenario: str,
    measure: Callable[[Rounds], None],
    *,
    within: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Figure]:
    """Measure several times; yield figures with one sample a round.

    If a round fails, the figures of the rounds before it come first, and then its exception.

    Args:
        within: seconds for all rounds. A round that would pass them, judged by the longest so far, is left
            out, and the first figure says so. The first round is always measured.
    """
    found = Rounds(scenario)
    start, longest = clock(), 0.0
    for done in range(rounds):
        begun = clock()
        if done and begun - start + longest > within:
            yield from found.figures(f"{done} of {rounds} rounds: the others did not fit into {within:.0f} s")
            return
        try:
            measure(found)
        except (Exception, TimeIsUpError):
            yield from found.figures(f"round {done + 1} of {rounds} failed")
            raise
        longest = max(longest, clock() - begun)
    yield from found.figures()


def percentile(samples: Sequence[float], percent: int) -> float:
    """The value that `percent` of the samples do not exceed."""
    if len(samples) == 1:
        return samples[0]
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]


def show(title: str, figures: Sequence[Figure], *, console: Console | None = None) -> None:
    """Print one table of all figures, a section a scenario; notes stand below their figures."""
    table = Table(box=box.SIMPLE_HEAD, title=title, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("figure", ratio=1)
    for heading in ("median", "min … max", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for heading in ("limit", "of limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    for scenario, group in groupby(figures, lambda figure: figure.scenario):
        for number, figure in enumerate(group):
            table.add_row("" if number else scenario, *cells(figure))
        table.add_section()
    (console or Console(width=WIDTH)).print(table)


def cells(figure: Figure) -> list[str | Text]:
    """What the table says of a figure, by column."""
    name = Text(figure.name)
    if figure.note:
        name.append(f"\n{figure.note}", "dim")
    lowest, highest = (min(figure.samples), max(figure.samples)) if figure.samples else (0, 0)
    goals = [str(figure.target)] if figure.target else []
    if figure.limit_target:
        goals.append(f"{figure.limit_target.better} {figure.limit_target.value:.0%}")
    return [
        name,
        "-" if figure.median is None else f"{shown(figure.median)} {figure.unit}".strip(),
        f"{shown(lowest)} … {shown(highest)}" if len(figure.samples) > 1 else "",
        ", ".join(goals),
        figure.verdict,
        "" if figure.limit is None else shown(figure.limit),
        "" if figure.ratio is None else f"{figure.ratio:.0%}",
    ]


def shown(value: float) -> str:
    """A number with three significant digits at the least."""
    if abs(value) >= LARGE:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(figures: Sequence[Figure]) -> str:
    """The table for a page of the manual; a scenario's name stands at its first figure."""
    lines = [
        "| Scenario | Figure | Median | Min … max | Target | Verdict | Limit | Of limit |",
        "|---" * 8 + "|",
    ]
    for scenario, group in groupby(figures, lambda figure: figure.scenario):
        for number, figure in enumerate(group):
            name, *others = map(str, cells(figure))
            columns = ["" if number else f"`{scenario}`", name.replace("\n", "<br>"), *others]
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def write_report(path: Path, title: str, figures: Sequence[Figure]) -> None:
    """Write all samples, for another report to compare with, and the table as Markdown beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"title": title, "figures": [figure.as_json() for figure in figures]}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(figures), encoding="utf-8")
