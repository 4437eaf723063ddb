"""Where PostgreSQL is: its address as libpq reads it, so that whatever libpq can do, can be said."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from shared.addresses import AddressError

SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
"""How an address may begin; the last is how SQLAlchemy names our driver."""

PREPARE_THRESHOLD: Final = "prepare_threshold"
"""psycopg's own parameter: after how many times a statement is prepared on the server; or `none`."""

NEVER: Final = "none"
MULTIPLE: Final = ("host", "port")
"""Parameters that may come several times: each names one more server."""

SSL: Final = "ssl"  # `ssl=true`, which libpq takes from those who come from JDBC
SOCKETS: Final = ("/", "@")  # how a host begins that is a directory of sockets, or an abstract socket

VARIABLE: Final = "RUNYARD_DATABASE_URL"
NO_ADDRESS: Final = (
    "is no address of PostgreSQL: it is to be postgresql://user:password@host:port/name, with what is special"
    " in a password as %XX."
)


def parse_postgres_address(url: str, *, variable: str = VARIABLE) -> dict[str, Any]:
    """Read an address of PostgreSQL, with several hosts and any of libpq's parameters if need be.

    Args:
        url: as libpq reads it, and with psycopg's own `prepare_threshold` beside libpq's parameters.
        variable: where it comes from, for the message if it is none.

    Returns:
        What to call `psycopg.connect` with; each value has the type that psycopg wants.

    Raises:
        AddressError: it is none, or has a parameter nobody knows; the message quotes nothing secret.
    """
    try:
        return _parse(url)
    except _RefusedError as refused:
        raise AddressError(f"{variable} {refused}") from None


class _RefusedError(Exception):
    """What an address is, that it should not be."""


def _parse(url: str) -> dict[str, Any]:
    if not url:
        raise _RefusedError("is not set.")
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise _RefusedError(NO_ADDRESS)
    place, _, query = _with_quoted_login(rest).partition("?")
    own, hosts, others = _sorted(query)
    try:
        parameters: dict[str, Any] = conninfo_to_dict(f"postgresql://{place}?{'&'.join(others)}")
    except psycopg.ProgrammingError:  # which may quote a part of a password
        raise _RefusedError(NO_ADDRESS) from None
    parameters |= _hosts(hosts, parameters)
    if not all(_is_port(port) for port in str(parameters.get("port") or "").split(",")):
        raise _RefusedError(NO_ADDRESS)
    if PREPARE_THRESHOLD in own:
        parameters[PREPARE_THRESHOLD] = _threshold(own[PREPARE_THRESHOLD])
    return parameters


def _with_quoted_login(rest: str) -> str:
    """The same, but for an @ in the password, which libpq would take for the end of it."""
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    return f"{login.replace('@', '%40')}{at}{hosts}{slash}{path}"


def _sorted(query: str) -> tuple[Mapping[str, str], Mapping[str, list[str]], list[str]]:
    """What psycopg is to be told, what names servers, and the rest, which is for libpq to read."""
    own: dict[str, str] = {}
    hosts: dict[str, list[str]] = {}
    others = []
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for item in filter(None, query.split("&")):
        name, _, value = item.partition("=")
        if name == PREPARE_THRESHOLD:
            own[name] = value
        elif name in MULTIPLE:
            hosts.setdefault(name, []).extend(unquote(value).split(","))
        elif name in known or name == SSL:
            others.append(item)
        else:
            raise _RefusedError(f"has a parameter {name!r} that PostgreSQL does not know.")
    return own, hosts, others


def _hosts(named: Mapping[str, list[str]], parameters: Mapping[str, Any]) -> dict[str, str]:
    """The servers that parameters name, each with its port beside it or in a list of ports."""
    found = {name: ",".join(values) for name, values in named.items()}
    hosts = named.get("host", [])
    pairs = [_host_and_port(host) for host in hosts]
    if any(port for _, port in pairs):
        default = str(parameters.get("port") or "")
        found["host"] = ",".join(host for host, _ in pairs)
        found["port"] = ",".join(port or default for _, port in pairs)
    return found


def _host_and_port(text: str) -> tuple[str, str]:
    """Split `host:port`; a directory of sockets and a bare IPv6 address have none."""
    if text.startswith("["):
        host, _, port = text.removeprefix("[").partition("]")
        return host, port.removeprefix(":")
    if text.startswith(SOCKETS) or text.count(":") != 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 0 < int(text) < 65536)  # noqa: PLR2004  # the ports there are


def _threshold(text: str) -> int | None:
    if text.lower() == NEVER:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise _RefusedError(f"has a {PREPARE_THRESHOLD} that is neither a number nor {NEVER}.")
    return int(text)
