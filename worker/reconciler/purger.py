"""The purger: a thread of the reconciler that deletes what is no longer kept, and disturbs nobody."""

import threading
import time
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.db import Sessions, is_passing, words_of
from shared.retention.policy import Policy
from shared.retention.purge import Purged, make_days, purge

PASS_INTERVAL: Final = 300.0  # seconds between two looks at everything
SHARE: Final = 0.25
"""The share of the time in which the purger lets PostgreSQL work; the rest are pauses between batches."""

MIN_PAUSE: Final = 0.02  # seconds

log = structlog.get_logger(__name__)


class Purger:
    """Does passes until it is stopped; in each, every step of the purge until nothing is left of it.

    It has a thread and a connection of its own, so that the reconciler's rounds do not wait for it. Any
    number of reconcilers may have one: they skip what another has locked.
    """

    def __init__(self, policy: Policy, sessions: Sessions, *, interval: float = PASS_INTERVAL) -> None:
        self._policy = policy
        self._sessions = sessions
        self._interval = interval

    def run(self, stop: threading.Event) -> None:
        """Do passes until `stop` is set.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: an error that does not pass by itself.
        """
        while not stop.is_set():
            try:
                purged = self.purge(stop)
            except SQLAlchemyError as error:
                if not is_passing(error):
                    raise
                log.warning("purge postponed", error=words_of(error))
            else:
                if purged.things:
                    log.info("purged", **purged.counts())
            stop.wait(self._interval)

    def purge(self, stop: threading.Event) -> Purged:
        """Do one pass, after a look at the partitions of the days to come; it ends early if `stop` is set.

        Returns:
            What was deleted.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away, or a lock was not to be had in time.
        """
        if made := make_days(self._sessions):
            log.info("days made", days=made)
        total, began = Purged(), time.monotonic()
        for _, done in purge(self._sessions, self._policy):
            total += done
            stop.wait(max(MIN_PAUSE, (time.monotonic() - began) * (1 / SHARE - 1)))
            if stop.is_set():
                break
            began = time.monotonic()
        return total
