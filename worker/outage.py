"""Living through a PostgreSQL that is away: try again for a while, and blame nobody for it after."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from shared.database_errors import is_passing, words_of
from shared.settings import Settings

T = TypeVar("T")

log = structlog.get_logger(__name__)


def persistently(work: Callable[[], T], *, grace: timedelta) -> T:
    """Do `work`, one whole unit of work, until PostgreSQL has done it.

    It is done again while PostgreSQL is away or refuses, and when others were in the way.

    It may be done twice: a commit whose answer got lost did go through. So `work` must be
    conditional, and must recognise its own traces.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL did not do it within `grace`, or never will.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(grace),
        before_sleep=_say,
        reraise=True,
    )
    return retrying(work)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    cause = "" if error is None else words_of(error)
    log.warning("database away, trying again", attempt_number=state.attempt_number, error=cause)


class Contact:
    """Whether PostgreSQL was in reach for long enough to call a worker silent.

    While it was away, hung or cut off, no worker could renew a lease, and all of them may look lost.
    Who looks in regularly finds such a gap on the database's clock, and leaves the workers the time
    of a lease. Gap upon gap, it does so for no longer than the outage that a worker outlives.
    """

    def __init__(self, settings: Settings) -> None:
        slack = settings.lease_ttl - settings.heartbeat
        self._longest_pause = max(2 * settings.reconcile_interval, slack / 2)
        self._settling_time = settings.lease_ttl
        self._grace = settings.database_outage_grace
        self._seen_at: datetime | None = None
        self._broken_at: datetime | None = None
        self._settled_at: datetime | None = None

    def is_steady(self, now: datetime) -> bool:
        """Note that PostgreSQL answers at `now`, its own time; say whether leases can be judged."""
        if self._seen_at is not None and abs(now - self._seen_at) > self._longest_pause:
            log.warning("database was out of reach", seconds=(now - self._seen_at).total_seconds())
            if self._broken_at is None or now < self._broken_at:
                self._broken_at = now
            self._settled_at = min(now, self._broken_at + self._grace) + self._settling_time
        self._seen_at = now
        if self._settled_at is not None and now < self._settled_at:
            return False
        self._broken_at = self._settled_at = None
        return True
