"""Web addresses in settings: loopback, root path, origins of pages, networks of proxies."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

OWN_PATHS: Final = ("/api/v1", "/v1", "/health", "/docs", "/openapi.json")
"""Prefixes of the API's paths, beside `/api`."""

USUAL_PORTS: Final = {"http": 80, "https": 443}

_NAME: Final = re.compile(r"(?!\.+$)[A-Za-z0-9._~-]+", re.ASCII)


def is_loopback(host: str) -> bool:
    """Whether an address is reachable only from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def parse_root_path(text: str) -> str:
    """Parse the path under which a proxy publishes the API, as `/a/b`; no path is the empty string.

    Raises:
        ValueError: the text is not a path, or begins like a path of the API.
    """
    names = [name for name in text.split("/") if name]
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError("must be a path such as /runyard, of letters, digits, '-', '.', '_' and '~'")
    path = "".join(f"/{name}" for name in names)
    if path == "/api" or f"{path}/".startswith(tuple(f"{own}/" for own in OWN_PATHS)):
        raise ValueError("begins like a path of the API: choose another")
    return path


def parse_origin(text: str) -> str:
    """Parse an origin as browsers send it: in lower case, without the default port.

    Raises:
        ValueError: the text is not exactly one origin.
    """
    wrong = ValueError("must be exact origins such as https://app.example.com, separated by commas")
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError as error:
        raise wrong from error
    host = parts.hostname
    beside = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in USUAL_PORTS or not host or beside or not text.isascii() or set(text) & set("*@"):
        raise wrong
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in {None, USUAL_PORTS[parts.scheme]} else f":{port}")


def parse_network(text: str) -> Network:
    """Parse a network, or an address as a network of one.

    Raises:
        ValueError: the text is neither.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, separated by commas") from error
