"""One session: scenarios on stacks, each bounded in time, none of which costs the others their figures."""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from bench import load
from bench.figures import Figure, TimeIsUpError
from bench.plant import Plant, running_plant

GRACE: Final = 25.0  # seconds beyond its share until a scenario is broken off
OVER: Final = "the time of the session was over"
TICK: Final = 0.001  # seconds
LATEST: Final = 20.0  # seconds beyond the session's time until everything is


class Measure(Protocol):
    """Measures on a stack, in about `within` seconds."""

    def __call__(self, plant: Plant, within: float, /) -> Iterable[Figure]: ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to measure.

    Attributes:
        seconds: what it may take, where there is time enough; its rounds are made to fit.
    """

    name: str
    measure: Measure
    seconds: float


@dataclass(frozen=True, slots=True)
class Site:
    """A stack to measure on, and what is measured there."""

    options: tuple[str, ...]
    settings: Mapping[str, str]
    scenarios: tuple[Scenario, ...]


class Session:
    """Measures; keeps what it found, whatever happens."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.figures: list[Figure] = []
        self.failed: list[str] = []
        self._clock = clock
        self._end = clock() + seconds

    def measure(self, sites: Sequence[Site], directory: Path) -> None:
        """Measure on one stack after the other; on a further one what a failed scenario has left over."""
        waiting = [(site, list(site.scenarios)) for site in sites]
        for number, (site, scenarios) in enumerate(waiting):
            after = [one for _, others in waiting[number + 1 :] for one in others]
            for stack in count():
                if self._left <= 0:
                    while scenarios:
                        self._fail(scenarios.pop(0), TimeIsUpError(OVER))
                if not scenarios:
                    break
                left = len(scenarios)
                try:
                    with ExitStack() as opened:
                        with broken_off(self._left + LATEST):
                            own = running_plant(
                                directory / f"{number}-{stack}", *site.options, settings=site.settings
                            )
                            plant = opened.enter_context(own)
                        self._measure_on(plant, scenarios, after)
                except (Exception, TimeIsUpError) as error:  # noqa: BLE001  # others are measured all the same
                    if len(scenarios) == left:  # it did not even start
                        self._fail(scenarios.pop(0), error)
                    else:
                        traceback.print_exception(error, file=sys.stderr)

    @property
    def _left(self) -> float:
        """Seconds that are left of the session."""
        return self._end - self._clock()

    def _measure_on(self, plant: Plant, scenarios: list[Scenario], after: Sequence[Scenario]) -> None:
        """Measure on a stack until a scenario fails or leaves runs behind: the next need a clean one."""
        while scenarios:
            scenario = scenarios.pop(0)
            left = self._left
            within = share(left, scenario, [scenario, *scenarios, *after])
            own, start = load.cpu(), self._clock()
            if left <= 0:
                self._fail(scenario, TimeIsUpError(OVER))
                continue
            try:
                with broken_off(min(within + GRACE, left + LATEST)):
                    for figure in scenario.measure(plant, within):
                        self.figures.append(figure)
            except (Exception, TimeIsUpError) as error:  # noqa: BLE001  # the others are measured all the same
                self._fail(scenario, error)
                return
            cores = (load.cpu() - own) / max(self._clock() - start, TICK)
            self.figures.append(Figure(scenario.name, "cores of the bench itself", "", (cores,)))
            if scenarios:
                with broken_off(GRACE):
                    plant.clear()

    def _fail(self, scenario: Scenario, error: BaseException) -> None:
        traceback.print_exception(error, file=sys.stderr)
        self.failed.append(scenario.name)
        reason = str(error).partition("\n")[0] or type(error).__name__
        self.figures.append(Figure(scenario.name, "did not finish", note=reason))


def share(left: float, scenario: Scenario, waiting: Sequence[Scenario]) -> float:
    """Seconds for a scenario: what it asks for, or its part of what is left if that is not enough for all."""
    asked = sum(one.seconds for one in waiting)
    return scenario.seconds * min(1.0, max(0.0, left) / asked)


@contextmanager
def broken_off(after: float) -> Generator[None]:
    """Raise in the main thread what ends a block that lasts longer than so many seconds.

    Raises:
        TimeIsUpError: it has.
    """

    def give_up(*_: object) -> None:
        raise TimeIsUpError(f"broken off after {after:.0f} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(after, TICK))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
