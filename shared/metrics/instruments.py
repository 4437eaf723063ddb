"""Instruments: counters, gauges and histograms that cost nothing until a process starts its metrics.

Then to count is to add to a number at hand (`shared.metrics.numbers`), under one lock. prometheus-client
renders the numbers when somebody scrapes; where something is counted, nothing of it is called.
"""

import os
import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from math import inf, prod
from pathlib import Path
from typing import ClassVar, Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.utils import floatToGoString

from shared.metrics.numbers import ENTRY_BYTES, Cells, InFiles, InMemory, Numbers

OTHER: Final = "other"
"""The value of a label whose own value is not of its vocabulary, or comes too late."""

LONGEST_VALUE: Final = 96
"""Bytes of the longest value that a label takes as it comes. Files have no room for longer ones: `OTHER`."""

MOST_AT_ZERO: Final = 64
"""Label sets up to which an instrument exists from the start: a rate needs a zero before the first event."""

MODE: Final = "livesum"
"""How the gauges of several processes become one: those of dead processes do not count."""

LabelSet = tuple[str, ...]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Label:
    """A label and the values that it may have."""

    name: str
    values: tuple[str, ...] = ()
    most: int = 0  # further values that are taken as they come; those after them are `OTHER`

    @property
    def bound(self) -> int:
        """The number of its values at the most."""
        return len(self.values) + self.most + 1


class Instrument(ABC):
    """A metric. The values of its labels are positional, in the order of the labels."""

    kind: ClassVar[str]
    """The beginning of the name of its file."""

    def __init__(self, name: str, description: str, *labels: Label) -> None:
        """Define a metric.

        Args:
            name: in snake case, with its unit and without `_total`.
            description: one sentence for operators.
            labels: each with its vocabulary.
        """
        self.name = f"runyard_{name}"
        self.description = description
        self.labels = labels
        self._sets: dict[LabelSet, Cells] = {}
        self._late: dict[str, set[str]] = {}
        _all.append(self)

    @property
    def bound(self) -> int:
        """The number of its label sets at the most."""
        return prod(label.bound for label in self.labels)

    @property
    @abstractmethod
    def samples(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        """The numbers of a label set: the name of each, and its labels beside those of the set."""

    @abstractmethod
    def family(self, sets: Mapping[LabelSet, Sequence[float]]) -> Metric:
        """Return the metric as a registry takes it, with the numbers of label sets."""

    def begin(self) -> None:
        """Begin to exist, with the label sets that are known and few at zero; the lock is held."""
        known = [label.values for label in self.labels]
        if all(known) and prod(map(len, known)) <= MOST_AT_ZERO:
            for given in product(*known):
                self._cells_of(given)

    def show(self, *labels: str) -> None:
        """Exist with a label set, at zero until something is counted: a rate needs a zero before it."""
        if _state.is_on:
            with _lock:
                self._cells_of(labels)

    def forget(self) -> None:
        """Forget all label sets; the lock is held."""
        self._sets, self._late = {}, {}

    def collect(self) -> Iterable[Metric]:
        """Return what this process has counted in memory, for a registry."""
        with _lock:
            sets = {labels: [row[place] for place in places] for labels, (row, places) in self._sets.items()}
        return [self.family(sets)]

    def _cells_of(self, given: LabelSet) -> Cells:
        """The numbers of a label set, or of the one that it is counted as; the lock is held."""
        allowed = tuple(map(self._allowed, self.labels, given))
        cells = self._sets.get(allowed)
        if cells is None:
            own = {label.name: value for label, value in zip(self.labels, allowed, strict=True)}
            named = [(name, {**own, **more}) for name, more in self.samples]
            keys = [
                mmap_key(self.name, name, list(labels), list(labels.values()), self.description)
                for name, labels in named
            ]
            cells = self._sets[allowed] = _state.numbers.cells(self.kind, keys)
        return cells

    def _allowed(self, label: Label, value: str) -> str:
        value = str(value)
        if value in label.values:
            return value
        late = self._late.setdefault(label.name, set())
        if value in late or (len(late) < label.most and len(value.encode()) <= LONGEST_VALUE):
            late.add(value)
            return value
        return OTHER


class Counter(Instrument):
    """A number that only grows."""

    kind = "counter"

    @property
    def samples(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        return [(f"{self.name}_total", {})]

    def family(self, sets: Mapping[LabelSet, Sequence[float]]) -> Metric:
        family = CounterMetricFamily(self.name, self.description, labels=_names(self.labels))
        for labels, (value,) in sets.items():
            family.add_metric(labels, value)
        return family

    def inc(self, *labels: str, by: float = 1) -> None:
        """Add to a label set; what a provider or a clock says below 0 adds nothing."""
        if _state.is_on:
            with _lock:
                row, (place,) = self._sets.get(labels) or self._cells_of(labels)
                if by > 0:
                    row[place] += by


class Gauge(Instrument):
    """A number that goes up and down; of several processes the sum."""

    kind = f"gauge_{MODE}"

    @property
    def samples(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        return [(self.name, {})]

    def family(self, sets: Mapping[LabelSet, Sequence[float]]) -> Metric:
        family = GaugeMetricFamily(self.name, self.description, labels=_names(self.labels))
        for labels, (value,) in sets.items():
            family.add_metric(labels, value)
        return family

    def inc(self, *labels: str, by: float = 1) -> None:
        """Add to a label set; `by` may be negative."""
        if _state.is_on:
            with _lock:
                row, (place,) = self._sets.get(labels) or self._cells_of(labels)
                row[place] += by

    def set(self, value: float, *labels: str) -> None:
        """Set a label set."""
        if _state.is_on:
            with _lock:
                row, (place,) = self._sets.get(labels) or self._cells_of(labels)
                row[place] = value


class Histogram(Instrument):
    """A distribution: a number for each bucket, and the sum."""

    kind = "histogram"

    def __init__(self, name: str, description: str, *labels: Label, buckets: tuple[float, ...]) -> None:
        super().__init__(name, description, *labels)
        self.buckets = buckets

    @property
    def samples(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        bounds = [(f"{self.name}_bucket", {"le": le}) for le in self._bounds]
        return [*bounds, (f"{self.name}_sum", {})]

    def family(self, sets: Mapping[LabelSet, Sequence[float]]) -> Metric:
        family = HistogramMetricFamily(self.name, self.description, labels=_names(self.labels))
        for labels, (*counts, total) in sets.items():
            family.add_metric(labels, list(zip(self._bounds, accumulate(counts), strict=True)), total)
        return family

    def observe(self, value: float, *labels: str) -> None:
        """Add an observation; a negative one, of clocks that differ, counts as 0."""
        if _state.is_on:
            with _lock:
                row, places = self._sets.get(labels) or self._cells_of(labels)
                row[places[bisect_left(self.buckets, value)]] += 1
                if value > 0:
                    row[places[-1]] += value

    @property
    def _bounds(self) -> list[str]:
        return [floatToGoString(bound) for bound in (*self.buckets, inf)]  # type: ignore[no-untyped-call]


_all: list[Instrument] = []

_lock: Final = threading.Lock()
"""The lock of all instruments. Nobody waits for anything while holding it."""


class _State:
    """Whether this process counts, and where."""

    def __init__(self) -> None:
        self.is_on = False
        self._directory: Path | None = None
        self._numbers: Numbers | None = None

    @property
    def numbers(self) -> Numbers:
        """Where this process counts; the lock is held. A fork counts in files of its own, from zero."""
        if self._numbers is None:
            self._numbers = InMemory() if self._directory is None else self._files(self._directory)
        return self._numbers

    def begin(self, directory: Path | None) -> None:
        """Count in memory, or in a directory; the lock is held.

        Raises:
            OSError: there is no room for the files.
        """
        self.is_on = False
        self._leave()
        self._directory = directory
        self._numbers = InMemory() if directory is None else InFiles(directory, file_sizes(_all))
        for instrument in _all:
            instrument.begin()
        self.is_on = True

    def begin_after_fork(self) -> None:
        """Leave the numbers to the parent; release the lock, which was taken for the fork."""
        self._leave()
        _lock.release()

    def _leave(self) -> None:
        for instrument in _all:
            instrument.forget()
        if self._numbers is not None:
            self._numbers.close()
            self._numbers = None

    def _files(self, directory: Path) -> Numbers:
        try:
            return InFiles(directory, file_sizes(_all))
        except OSError as error:
            self.is_on = False
            log.warning("nothing is measured in this fork", error=str(error))
            return InMemory()


_state: Final = _State()

# A fork waits until no thread is inside an instrument: the child would inherit the lock taken, and nobody
# would ever release it.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_state.begin_after_fork
)


def start(directory: Path | None = None) -> CollectorRegistry:
    """Begin to count in this process, from zero.

    Args:
        directory: for the files of this process and its forks; None to count in memory.

    Returns:
        What this process counts in memory. With files, the directory is to be read.

    Raises:
        OSError: there is no room for the files.
    """
    registry = CollectorRegistry()
    with _lock:
        _state.begin(directory)
    for instrument in _all if directory is None else ():
        registry.register(instrument)
    return registry


def stop() -> None:
    """Count nothing from now on."""
    _state.is_on = False


def is_on() -> bool:
    """Whether this process counts."""
    return _state.is_on


def file_sizes(instruments: Iterable[Instrument]) -> dict[str, int]:
    """The bytes of the files of one process, by the beginning of their names: enough for every label set."""
    sizes = {kind.kind: 0 for kind in (Counter, Gauge, Histogram)}
    for one in instruments:
        sizes[one.kind] += one.bound * len(one.samples) * ENTRY_BYTES
    return sizes


def every_instrument() -> tuple[Instrument, ...]:
    """The instruments that have been defined, in their order."""
    return tuple(_all)


def _names(labels: Iterable[Label]) -> list[str]:
    return [label.name for label in labels]
