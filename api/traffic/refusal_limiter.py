"""The refusal limiter: bounds the wrong keys that one address may try."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST: Final = 10.0
"""The burst: seconds of the rate that an address may use up at once."""

ADDRESSES: Final = 4096
"""Addresses kept at once, in less than a megabyte. The address with the oldest refusal is dropped first."""

IPV6_PREFIX: Final = 64
"""Bits of an address that identify a subscriber; the subscriber chooses the others."""


def subscriber(address: str) -> str:
    """Return the subscriber of an address: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a socket's path, or nothing
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, IPV6_PREFIX), strict=False).network_address)


class RefusalLimiter:
    """A leaky bucket of refusals for each address."""

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty limiter.

        Args:
            rate: sustained refusals per second of one address.
            clock: returns seconds from any origin.
        """
        self._rate = rate
        self._clock = clock
        # Of each address, the level of its bucket and the time of it.
        self._full: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full)

    def note(self, address: str) -> None:
        """Count a refusal of an address."""
        whose = subscriber(address)
        self._full[whose] = (self._level(whose) + 1, self._clock())
        self._full.move_to_end(whose)
        while len(self._full) > ADDRESSES:
            self._full.popitem(last=False)

    def may_try(self, address: str) -> bool:
        """Whether an address may try another key now."""
        return self._level(subscriber(address)) + 1 <= self._rate * BURST

    def _level(self, whose: str) -> float:
        level, at = self._full.get(whose, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) * self._rate)
