"""Addresses of Redis, parsed once for redis-py and for Celery."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from shared.addresses.base import AddressError

TLS: Final = "rediss"
SOCKET_SCHEMES: Final = frozenset({"unix", "redis+socket"})
SCHEMES: Final = frozenset({"redis", TLS}) | SOCKET_SCHEMES

DEFAULT_PORT: Final = 6379
HOST: Final = re.compile(r"[\w.:-]+")
"""A name or an IP address. A list is refused, since no client would try its items in turn."""

NO_TLS: Final[Mapping[str, Any]] = MappingProxyType({})
TLS_DEFAULTS: Final = MappingProxyType({"ssl_cert_reqs": "required", "ssl_check_hostname": True})
TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
TLS_REQUIREMENTS: Final = frozenset({"required", "optional", "none"})
BOOLEANS: Final = MappingProxyType({"true": True, "false": False})

DATABASE_NAMES: Final = ("db", "virtual_host")  # of redis-py and, for a socket, of Celery
CREDENTIALS: Final = ("username", "password")
PARAMETERS: Final = sorted({*DATABASE_NAMES, *CREDENTIALS, *TLS_DEFAULTS, *TLS_FILES})

VARIABLE: Final = "RUNYARD_REDIS_URL"
NOT_SET: Final = f"{VARIABLE} is not set."
NO_ADDRESS: Final = (
    f"{VARIABLE} is not an address of Redis: it must be redis://:password@host:port/database, rediss://… or"
    " unix:///path?db=0, with special characters in a password as %XX."
)
NO_SENTINEL: Final = (
    f"{VARIABLE} names a Sentinel, which Runyard does not support: give the address of a proxy, or a name,"
    " that follows the master."
)
NO_CLUSTER: Final = (
    f"{VARIABLE} names a Redis Cluster, which Runyard does not support: give the address of one Redis."
)
CA_WITHOUT_TLS: Final = f"RUNYARD_REDIS_CA is for {TLS}://, and {VARIABLE} is not encrypted."


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """An address of Redis, with the parameters of TLS."""

    url: str = field(repr=False)  # for redis-py
    broker_url: str = field(repr=False)  # the same address for Celery
    tls: Mapping[str, Any]  # parameters of redis-py; empty if the connection is not encrypted
    is_socket: bool = False  # a Unix socket

    @property
    def options(self) -> Mapping[str, Any]:
        """Parameters of redis-py beside `url`. A Unix socket has no keep-alive."""
        return self.tls if self.is_socket else {**self.tls, "socket_keepalive": True}


def parse_redis_address(url: str, *, ca: Path | None = None) -> RedisAddress:
    """Parse an address of Redis. With `rediss://` the certificate is verified, unless the URL says not to.

    Args:
        url: `redis://`, `rediss://`, or `unix://` (Celery's spelling is `redis+socket://`).
        ca: a file of CA certificates, trusted beside the system's.

    Raises:
        AddressError: the address is malformed or not supported. The message quotes nothing secret.
    """
    if not url:
        raise AddressError(NOT_SET)
    scheme = url.partition("://")[0].lower()
    if "sentinel" in scheme:
        raise AddressError(NO_SENTINEL)
    if "cluster" in scheme:
        raise AddressError(NO_CLUSTER)
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = parts.port or DEFAULT_PORT
    except ValueError:  # its message may quote a part of a password
        raise AddressError(NO_ADDRESS) from None
    if scheme not in SCHEMES or parts.fragment:
        raise AddressError(NO_ADDRESS)
    if unknown := sorted(set(given) - set(PARAMETERS)):
        raise AddressError(f"{VARIABLE} has a parameter {unknown[0]!r}; known are {', '.join(PARAMETERS)}.")
    tls = _tls(given, ca) if scheme == TLS else _no_tls(given, ca)
    # The login: parameters override the URL's, as in redis-py.
    username, password = (given.get(name) or unquote(getattr(parts, name) or "") for name in CREDENTIALS)
    has_login = username or password
    login = f"{quote(username, safe='')}:{quote(password, safe='')}@" if has_login else ""
    if scheme in SOCKET_SCHEMES:
        return _socket(parts, given, login)
    host = unquote(parts.hostname or "localhost")
    if not HOST.fullmatch(host):
        raise AddressError(NO_ADDRESS)
    shown = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{login}{shown}:{port}/{_database(given, unquote(parts.path).strip('/'))}"
    return RedisAddress(url=address, broker_url=address, tls=tls)


def _socket(parts: SplitResult, given: Mapping[str, str], login: str) -> RedisAddress:
    if not parts.path.strip("/"):
        raise AddressError(NO_ADDRESS)
    path, number = quote(unquote(parts.path)), _database(given)
    return RedisAddress(
        url=f"unix://{login}{path}?db={number}",
        broker_url=f"redis+socket://{login}{path}?virtual_host={number}",
        tls=NO_TLS,
        is_socket=True,
    )


def _database(given: Mapping[str, str], in_path: str = "") -> int:
    number = next((given[name] for name in DATABASE_NAMES if name in given), in_path) or "0"
    if not (number.isascii() and number.isdecimal()):
        raise AddressError(f"{VARIABLE} names the database {number!r}, but databases of Redis are numbers.")
    return int(number)


def _tls(given: Mapping[str, str], ca: Path | None) -> Mapping[str, Any]:
    requirement = given.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if requirement not in TLS_REQUIREMENTS:
        raise AddressError(f"{VARIABLE}: ssl_cert_reqs is one of required, optional, none.")
    check = BOOLEANS.get(given.get("ssl_check_hostname", "true").lower())
    if check is None:
        raise AddressError(f"{VARIABLE}: ssl_check_hostname is true or false.")
    trusted = {} if ca is None else {"ssl_ca_certs": str(ca)}
    files = {name: given[name] for name in TLS_FILES & given.keys()}
    return {**trusted, **files, "ssl_cert_reqs": requirement, "ssl_check_hostname": check}


def _no_tls(given: Mapping[str, str], ca: Path | None) -> Mapping[str, Any]:
    if ca is not None:
        raise AddressError(CA_WITHOUT_TLS)
    if encrypted := sorted(name for name in given if name.startswith("ssl_")):
        raise AddressError(f"{VARIABLE}: {encrypted[0]} is for {TLS}://.")
    return NO_TLS
