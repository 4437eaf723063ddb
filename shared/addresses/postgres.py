"""Addresses of PostgreSQL, in the syntax of libpq with all of its parameters."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from shared.addresses.base import AddressError

SCHEMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
"""Schemes of an address; the last is SQLAlchemy's name of the driver."""

PREPARE_THRESHOLD: Final = "prepare_threshold"
"""psycopg's own parameter: executions before a statement is prepared on the server, or `none`."""

NEVER: Final = "none"
MULTIPLE: Final = ("host", "port")
"""Parameters that may be repeated, once a server."""

SSL: Final = "ssl"  # `ssl=true`, which libpq accepts as JDBC does
SOCKETS: Final = ("/", "@")  # prefixes of a socket directory and an abstract socket

VARIABLE: Final = "RUNYARD_DATABASE_URL"
NO_ADDRESS: Final = (
    "is not an address of PostgreSQL: it must be postgresql://user:password@host:port/name, with special"
    " characters in a password as %XX."
)


def parse_postgres_address(url: str, *, variable: str = VARIABLE) -> dict[str, Any]:
    """Parse an address of PostgreSQL, with several hosts and any parameter of libpq.

    Args:
        url: an address in the syntax of libpq; psycopg's own `prepare_threshold` is allowed, too.
        variable: the name of the setting, for the message of an error.

    Returns:
        The arguments of `psycopg.connect`, each of the type that psycopg expects.

    Raises:
        AddressError: the address is malformed or has an unknown parameter. No secret is quoted.
    """
    try:
        return _parse(url)
    except _RefusedError as refused:
        raise AddressError(f"{variable} {refused}") from None


class _RefusedError(Exception):
    """The fault of an address."""


def _parse(url: str) -> dict[str, Any]:
    if not url:
        raise _RefusedError("is not set.")
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise _RefusedError(NO_ADDRESS)
    authority, slash, path = rest.partition("/")
    login, at, servers = authority.rpartition("@")
    login = login.replace("@", "%40")  # in a password, libpq would take it for the password's end
    place, _, query = f"{login}{at}{servers}{slash}{path}".partition("?")
    own, hosts, others = _sorted(query)
    try:
        parameters: dict[str, Any] = conninfo_to_dict(f"postgresql://{place}?{'&'.join(others)}")
    except psycopg.ProgrammingError:  # its message may quote a part of a password
        raise _RefusedError(NO_ADDRESS) from None
    parameters |= _hosts(hosts, parameters)
    if not all(_is_port(port) for port in str(parameters.get("port") or "").split(",")):
        raise _RefusedError(NO_ADDRESS)
    if PREPARE_THRESHOLD in own:
        text = own[PREPARE_THRESHOLD]
        if text.lower() != NEVER and not (text.isascii() and text.isdecimal()):
            raise _RefusedError(f"has a {PREPARE_THRESHOLD} that is neither a number nor {NEVER}.")
        parameters[PREPARE_THRESHOLD] = None if text.lower() == NEVER else int(text)
    return parameters


def _sorted(query: str) -> tuple[Mapping[str, str], Mapping[str, list[str]], list[str]]:
    """Split a query into psycopg's own parameters, hosts and ports, and the rest, for libpq."""
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
    """The hosts and ports of the parameters; a port stands beside its host or in a list of ports."""
    found = {name: ",".join(values) for name, values in named.items()}
    hosts = named.get("host", [])
    pairs = [_host_and_port(host) for host in hosts]
    if any(port for _, port in pairs):
        default = str(parameters.get("port") or "")
        found["host"] = ",".join(host for host, _ in pairs)
        found["port"] = ",".join(port or default for _, port in pairs)
    return found


def _host_and_port(text: str) -> tuple[str, str]:
    """Split `host:port`; a socket directory and a bare IPv6 address have no port."""
    if text.startswith("["):
        host, _, port = text.removeprefix("[").partition("]")
        return host, port.removeprefix(":")
    if text.startswith(SOCKETS) or text.count(":") != 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _is_port(text: str) -> bool:
    return not text or (text.isascii() and text.isdecimal() and 0 < int(text) < 65536)  # noqa: PLR2004  # the largest port
