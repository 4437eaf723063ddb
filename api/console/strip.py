"""The numbers above a list of runs, which the consoles of an organization share for a moment."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from sqlalchemy.orm import Session

from shared.models import ProcessKind
from shared.processes import beats
from shared.runs.summaries import Rates, rates
from shared.settings import Settings

TTL: Final = 2.0  # seconds
MOST: Final = 256  # organizations that are remembered
MISSED_BEATS: Final = 3  # after which a worker does not count as alive


@dataclass(frozen=True, slots=True)
class Strip:
    """The numbers of one organization."""

    rates: Rates
    workers: int  # alive

    @property
    def per_minute(self) -> float:
        """Runs created per minute, over the last ten."""
        return sum(self.rates.created[-10:]) / 10

    @property
    def failures(self) -> int:
        """Runs of the last hour that failed."""
        return sum(self.rates.failed)

    @property
    def sparkline(self) -> str:
        """The points of a line of failures by minute, in a box of 120 by 24."""
        return line(self.rates.failed, width=120, height=24)


def line(values: Sequence[int], *, width: int, height: int) -> str:
    """Return the points of a line for SVG."""
    numbers = list(values)
    top = max([*numbers, 1])
    step = width / max(len(numbers) - 1, 1)
    return " ".join(
        f"{number * step:.1f},{height - 1 - value / top * (height - 2):.1f}"
        for number, value in enumerate(numbers)
    )


_known: OrderedDict[uuid.UUID, tuple[float, Strip]] = OrderedDict()
_lock = Lock()


def strip_of(session: Session, settings: Settings, organization_id: uuid.UUID) -> Strip:
    """Return the numbers of an organization, at most `TTL` old."""
    with _lock:
        read_at, known = _known.get(organization_id, (float("-inf"), None))
    if known is not None and time.monotonic() - read_at < TTL:
        return known
    alive_within = max(settings.lease_ttl, MISSED_BEATS * settings.heartbeat)
    strip = Strip(
        rates(session, organization_id),
        beats.count_heard(session, ProcessKind.WORKER, within=alive_within),
    )
    with _lock:
        _known[organization_id] = (time.monotonic(), strip)
        _known.move_to_end(organization_id)
        while len(_known) > MOST:
            _known.popitem(last=False)
    return strip
