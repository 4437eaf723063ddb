"""How the connections of one process are divided, so that nobody ever waits for one that another holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Final

from anyio import CapacityLimiter, to_thread

from api.admission import Gate
from shared.settings import Settings

UPKEEP: Final = 4
"""Connections for what no caller waits in a queue for: readiness, waits, uses of keys, keys of streams."""

KEY_LOOKUPS: Final = 2
LEAST: Final = 4
"""Connections for requests, cancels and streams at the least, however small the pool."""

PARSERS: Final = 2
"""Threads that read large bodies; none of those that hold a connection."""

QUEUED_BODIES: Final = 4
"""Bodies that one organization may have waiting, by what they announce, as a multiple of what is held."""

SPARE_THREADS: Final = 8

ESCAPED: Final = 3
"""Bytes of JSON for a byte of text, in clients that write nothing but ASCII."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The gates of a process; each admits no more at once than there are connections for it.

    A request takes its place in a lane before it opens a transaction, and keeps it until the transaction
    has ended: whoever holds a connection therefore finds a thread free, and whoever has a place finds a
    connection free. Cancels have a lane of their own, and so have look-ups of keys.
    """

    requests: Gate
    cancels: Gate
    streams: Gate
    keys: Gate
    bodies: Gate  # in bytes
    parsers: CapacityLimiter

    @classmethod
    def make(cls, settings: Settings) -> "Lanes":
        connections = connections_for_tenants(settings)
        cancels = max(1, connections // 6)
        streams = max(1, connections // 5)
        patience = settings.admission_timeout.total_seconds()

        bodies = max(settings.max_body_memory, 2 * settings.max_body_bytes, largest_report(settings))

        def share_of(capacity: int) -> int:
            return ceil(capacity * settings.organization_share)

        def gate(capacity: int) -> Gate:
            return Gate(capacity, share=share_of(capacity), patience=patience)

        return cls(
            requests=gate(connections - cancels - streams),
            cancels=gate(cancels),
            streams=gate(streams),
            keys=Gate(KEY_LOOKUPS, share=KEY_LOOKUPS - 1, patience=patience),
            bodies=Gate(bodies, share=share_of(bodies), queue=QUEUED_BODIES * bodies, patience=patience),
            parsers=CapacityLimiter(PARSERS),
        )

    def weight_of(self, headers: Mapping[str, str], limit: int) -> int:
        """What a body takes of `bodies`: its length, or the most it may have if that is not announced."""
        length = headers.get("content-length", "")
        if length.isascii() and length.isdecimal():
            return min(int(length), limit)
        return limit if "transfer-encoding" in headers else 0

    def provide_threads(self) -> None:
        """See to it that endpoints have a thread for each place; to be called in the event loop."""
        threads = to_thread.current_default_thread_limiter()
        needed = self.requests.capacity + self.cancels.capacity + SPARE_THREADS
        threads.total_tokens = max(threads.total_tokens, needed)


def largest_report(settings: Settings) -> int:
    """Bytes of the largest body with events of a program: its output as JSON may write it, and others."""
    return ESCAPED * settings.structure_output + settings.max_body_bytes


def connections_for_tenants(settings: Settings) -> int:
    """The connections that requests, cancels and streams have together."""
    return max(LEAST, settings.database_pool - UPKEEP - KEY_LOOKUPS)


def session_limits(settings: Settings) -> Mapping[str, timedelta]:
    """What PostgreSQL is to end in a transaction of the API by itself."""
    return {"lock_timeout": settings.lock_timeout, "statement_timeout": settings.statement_timeout}
