"""Where a request comes from, if a proxy that is trusted has handed it on."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.settings import Settings, names_of
from shared.web_addresses import Network, parse_network

FORWARDED: Final = "x-forwarded-for"


class Proxies:
    """The proxies whose word is taken for where a request comes from; by default none is."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    @classmethod
    def of(cls, settings: Settings) -> "Proxies":
        return cls([parse_network(name) for name in names_of(settings.trusted_proxies)])

    def has(self, address: str) -> bool:
        """Whether an address is a trusted proxy's."""
        if not self._networks:
            return False
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def caller(self, peer: str, forwarded: Sequence[str]) -> str:
        """The address that a request comes from: the last one that no trusted proxy has, as proxies append.

        What callers put there themselves stands before it, and is not looked at.

        Args:
            peer: who has opened the connection.
            forwarded: the values of X-Forwarded-For, in their order.
        """
        hops = [hop for value in forwarded for hop in value.split(",")]
        caller = peer
        while hops and self.has(caller):
            hop = _parsed(hops.pop())
            if hop is None:
                break
            caller = str(hop)
        return caller


class Callers:
    """Gives requests the address of their caller, instead of that of the proxy."""

    def __init__(self, app: ASGIApp, *, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client") and self._proxies.has(scope["client"][0]):
            forwarded = Headers(scope=scope).getlist(FORWARDED)
            scope = {**scope, "client": (self._proxies.caller(scope["client"][0], forwarded), 0)}
        await self._app(scope, receive, send)


def _parsed(hop: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it, with a port or without; None if it is none."""
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
