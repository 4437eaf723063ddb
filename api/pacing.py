"""How often one address may be wrong: what it costs to try keys is bounded, and so is what is remembered."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST: Final = 10.0
"""Seconds of the rate that an address may use up at once."""

ADDRESSES: Final = 4096
"""Addresses remembered at once, less than a megabyte; the one that was wrong longest ago is forgotten."""

IPV6_PREFIX: Final = 64
"""Bits that name a subscriber; the rest is theirs to choose."""


def subscriber(address: str) -> str:
    """Whom an address belongs to: itself, or, of IPv6, its network, which one machine has to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a socket's path, or nothing
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, IPV6_PREFIX), strict=False).network_address)


class Refusals:
    """What each address has been refused lately, as a bucket that empties at a steady rate."""

    def __init__(self, rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a record.

        Args:
            rate: refusals a second that one address may have for long.
            clock: seconds, from any beginning.
        """
        self._rate = rate
        self._clock = clock
        self._full: OrderedDict[str, tuple[float, float]] = OrderedDict()  # refusals left to forget, and when

    def __len__(self) -> int:
        return len(self._full)

    def note(self, address: str) -> None:
        """Remember that an address was refused."""
        whose = subscriber(address)
        self._full[whose] = (self._level(whose) + 1, self._clock())
        self._full.move_to_end(whose)
        while len(self._full) > ADDRESSES:
            self._full.popitem(last=False)

    def may_try(self, address: str) -> bool:
        """Whether an address may be wrong once more at the moment."""
        return self._level(subscriber(address)) + 1 <= self._rate * BURST

    def _level(self, whose: str) -> float:
        level, at = self._full.get(whose, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) * self._rate)
