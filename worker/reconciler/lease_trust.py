"""Whether lapsed leases can be trusted: after an outage of PostgreSQL every lease looks lapsed."""

from datetime import datetime

import structlog

from shared.settings import Settings

log = structlog.get_logger(__name__)


class LeaseTrust:
    """Finds outages of PostgreSQL as gaps between calls, on the database's clock.

    During an outage no worker can renew its lease. After one, `can_judge` gives the workers the time of a
    lease. Repeated gaps prolong that time, up to the outage that a worker survives.
    """

    def __init__(self, settings: Settings) -> None:
        slack = settings.lease_ttl - settings.heartbeat
        self._max_gap = max(2 * settings.reconcile_interval, slack / 2)
        self._lease_ttl = settings.lease_ttl
        self._outage_grace = settings.database_outage_grace
        self._is_beginning = False
        self._seen_at: datetime | None = None
        self._first_outage_at: datetime | None = None
        self._trusted_from: datetime | None = None

    def begin(self) -> None:
        """Take the time before the next call for an outage: nobody has watched PostgreSQL."""
        self._is_beginning = True

    def can_judge(self, now: datetime) -> bool:
        """Record that PostgreSQL answered at `now`, its own time. Return whether lapsed leases count."""
        is_outage = self._seen_at is not None and abs(now - self._seen_at) > self._max_gap
        if is_outage and self._seen_at is not None:
            log.warning("database was out of reach", seconds=(now - self._seen_at).total_seconds())
        if is_outage or self._is_beginning:
            self._is_beginning = False
            if self._first_outage_at is None or now < self._first_outage_at:
                self._first_outage_at = now
            self._trusted_from = min(now, self._first_outage_at + self._outage_grace) + self._lease_ttl
        self._seen_at = now
        if self._trusted_from is not None and now < self._trusted_from:
            return False
        self._first_outage_at = self._trusted_from = None
        return True
