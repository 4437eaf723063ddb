"""Caller addresses: the peer of the connection, or the address that a trusted proxy forwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.addresses.web import Network, parse_network
from shared.setting_types import names_of
from shared.settings import Settings

FORWARDED: Final = "x-forwarded-for"


@dataclass(frozen=True, slots=True)
class Proxies:
    """The trusted proxies, whose `X-Forwarded-For` counts; by default none."""

    networks: Sequence[Network]

    @classmethod
    def of(cls, settings: Settings) -> "Proxies":
        return cls([parse_network(name) for name in names_of(settings.trusted_proxies)])

    def has(self, address: str) -> bool:
        """Whether an address belongs to a trusted proxy."""
        if not self.networks:
            return False
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self.networks)

    def caller(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address of the caller: the last address that belongs to no trusted proxy.

        Proxies append to `X-Forwarded-For`. Entries of the caller itself stand before its address and are
        not read.

        Args:
            peer: the address of the other end of the connection.
            forwarded: the values of `X-Forwarded-For`, in order.
        """
        hops = [hop for value in forwarded for hop in value.split(",")]
        caller = peer
        while hops and self.has(caller):
            hop = _parsed(hops.pop())
            if hop is None:
                break
            caller = str(hop)
        return caller


@dataclass(frozen=True, slots=True)
class Callers:
    """Replaces the address of a trusted proxy by the address of the caller, in the scope of a request."""

    app: ASGIApp
    proxies: Proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client") and self.proxies.has(scope["client"][0]):
            forwarded = Headers(scope=scope).getlist(FORWARDED)
            scope = {**scope, "client": (self.proxies.caller(scope["client"][0], forwarded), 0)}
        await self.app(scope, receive, send)


def _parsed(hop: str) -> IPv4Address | IPv6Address | None:
    """Parse an address as proxies write it, with or without a port; None if it is malformed."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
