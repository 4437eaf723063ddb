"""What settings say of the web around an installation: a path, origins of pages, networks of proxies."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

OWN_PATHS: Final = ("/api/v1", "/v1", "/health", "/docs", "/openapi.json")
"""Where paths of the API begin, beside `/api`."""

USUAL_PORTS: Final = {"http": 80, "https": 443}

_NAME: Final = re.compile(r"(?!\.+$)[A-Za-z0-9._~-]+", re.ASCII)


def parse_root_path(text: str) -> str:
    """Read the path below which a proxy shows the API, as `/a/b`; none is the empty string.

    Raises:
        ValueError: it is no path, or one that could not be told from the API's own.
    """
    names = [name for name in text.split("/") if name]
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError("it is to be a path such as /runyard, of letters, digits, '-', '.', '_' and '~'")
    path = "".join(f"/{name}" for name in names)
    if path == "/api" or f"{path}/".startswith(tuple(f"{own}/" for own in OWN_PATHS)):
        raise ValueError("it begins as paths of Runyard's own do; choose another")
    return path


def parse_origin(text: str) -> str:
    """Read the origin of a page as browsers write it: in small letters, without the usual port.

    Raises:
        ValueError: it is none, or not a single one.
    """
    wrong = ValueError("they are to be such as https://app.example.com, each exact, by commas")
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
    """Read a network, or an address, which is a network of one.

    Raises:
        ValueError: it is neither.
    """
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError("they are to be addresses or networks such as 10.0.0.0/8, by commas") from error
