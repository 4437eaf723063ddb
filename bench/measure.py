"""Figures: measurement, and a table with their targets."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

MILLI = 1000


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.value < self.target else "MISSED"


def timed(action: Callable[[], object]) -> float:
    """The milliseconds an action takes."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * MILLI


def repeated(action: Callable[[], object], *, times: int, warm_up: int = 3) -> list[float]:
    """The milliseconds an action takes, over and over, after a few that do not count."""
    for _ in range(warm_up):
        action()
    return [timed(action) for _ in range(times)]


def median(what: str, samples: Sequence[float], *, target: float | None = None) -> Figure:
    """The middle one of some milliseconds, the others as a note."""
    low, high = min(samples), percentile(samples, 95)
    note = f"min {low:.1f}, p95 {high:.1f}, n {len(samples)}"
    return Figure(what, statistics.median(samples), "ms", target, note)


def percentile(samples: Sequence[float], percent: int) -> float:
    """The value below which `percent` of the samples are."""
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print a report."""
    table = Table("figure", "median", "target", "", "", title=title, title_justify="left")
    for figure in figures:
        target = "" if figure.target is None else f"< {figure.target:g} {figure.unit}"
        table.add_row(figure.what, f"{figure.value:.1f} {figure.unit}", target, figure.verdict, figure.note)
    Console(width=120).print(table)
