"""Lanes: how requests, creates, cancels, streams and keys divide the connections of one process."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from anyio import CapacityLimiter, to_thread

from api.traffic.admission import Gate
from shared.contradictions import LEAST_API_POOL, small_api_pool
from shared.errors import RunyardError
from shared.settings import Settings

UPKEEP: Final = 4
"""Connections for upkeep, which has no queue: readiness, waits, uses of keys, keys of streams."""

KEY_LOOKUPS: Final = 2
MIN_CONNECTIONS: Final = LEAST_API_POOL - UPKEEP - KEY_LOOKUPS
"""The least number of connections for requests, creates, cancels and streams, of a pool of any size."""

CREATES: Final = 64
"""Runs that may wait to be stored, or are being stored, by the one connection for them."""

CANCELS: Final = 64
"""Likewise runs that may wait to be cancelled."""

PARSERS: Final = 2
"""Threads that parse large bodies. They hold no database connection."""

QUEUED_BODIES: Final = 4
"""Bound of one organization's waiting bodies by announced size, as a multiple of the body memory."""

SPARE_THREADS: Final = 8

ESCAPED: Final = 3
"""Bytes of JSON per byte of text, from clients that escape everything but ASCII."""


class PoolTooSmallError(RunyardError):
    """The database pool is too small for the lanes."""


def demand_pool(settings: Settings) -> None:
    """Check that the database pool has a connection for each place of the lanes.

    Raises:
        PoolTooSmallError: it has fewer.
    """
    if refusal := small_api_pool(settings):
        raise PoolTooSmallError(refusal)


@dataclass(frozen=True, slots=True)
class Lanes:
    """The gates of a process; each admits as many requests at once as it has connections.

    A request takes a place in a lane before it opens a transaction and keeps it until the transaction
    ends. So a request with a place finds a connection free, and a request with a connection finds a
    thread free. The places of `creates` share one connection, as do those of `shared_cancels`; in
    the smallest pool it is the same. Other cancels and look-ups of keys have lanes of their own.
    """

    requests: Gate
    creates: Gate  # of runs that are stored many at a time, on one connection
    shared_cancels: Gate  # of runs that are cancelled many at a time, on one connection
    cancels: Gate  # of runs by themselves, and deletes
    together: CapacityLimiter  # the connections of creates and shared cancels, by the threads that use them
    streams: Gate
    keys: Gate
    bodies: Gate  # in bytes
    parsers: CapacityLimiter

    @classmethod
    def make(cls, settings: Settings) -> "Lanes":
        connections = connections_for_tenants(settings)
        cancels = max(1, connections // 6)
        streams = max(1, connections // 5)
        together = 1 if connections == MIN_CONNECTIONS else 2
        timeout = settings.admission_timeout.total_seconds()

        bodies = max(settings.max_body_memory, 2 * settings.max_body_bytes, largest_report(settings))

        def share_of(capacity: int) -> int:
            return ceil(capacity * settings.organization_share)

        def gate(capacity: int) -> Gate:
            return Gate(capacity, share=share_of(capacity), timeout=timeout)

        return cls(
            requests=gate(connections - cancels - streams - together),
            creates=gate(CREATES),
            shared_cancels=gate(CANCELS),
            cancels=gate(cancels),
            together=CapacityLimiter(together),
            streams=gate(streams),
            keys=Gate(KEY_LOOKUPS, share=KEY_LOOKUPS - 1, timeout=timeout),
            bodies=Gate(bodies, share=share_of(bodies), queue=QUEUED_BODIES * bodies, timeout=timeout),
            parsers=CapacityLimiter(PARSERS),
        )

    def weight_of(self, headers: Mapping[str, str], limit: int) -> int:
        """Return the weight of a body in `bodies`: its announced length, or else `limit`."""
        length = headers.get("content-length", "")
        if length.isascii() and length.isdecimal():
            return min(int(length), limit)
        return limit if "transfer-encoding" in headers else 0

    def provide_threads(self) -> None:
        """Provide a thread for each place of an endpoint. Only the event loop may call it."""
        threads = to_thread.current_default_thread_limiter()
        needed = self.requests.capacity + self.cancels.capacity + SPARE_THREADS
        threads.total_tokens = max(threads.total_tokens, needed)


def largest_report(settings: Settings) -> int:
    """Return the bytes of the largest report of a program: its output in escaped JSON, and other events."""
    return ESCAPED * settings.structure_output + settings.max_body_bytes


def connections_for_tenants(settings: Settings) -> int:
    """Return the number of connections that requests, creates, cancels and streams share."""
    return max(MIN_CONNECTIONS, settings.database_pool - UPKEEP - KEY_LOOKUPS)
