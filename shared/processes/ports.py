"""Loopback: its free ports, and whether an address is on it."""

import ipaddress
import os
import random
import socket
from pathlib import Path
from typing import Final

from shared.errors import RunyardError

LOOPBACK: Final = "127.0.0.1"
LOWEST: Final = 10_240
EPHEMERAL: Final = 32_768  # where Linux begins to take ports for outgoing connections
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES: Final = 100


class CannotListenError(RunyardError):
    """An address or a port cannot be listened on."""

    def __init__(self, who: str, host: str, port: int, error: OSError) -> None:
        reason = error.strerror or str(error)
        if not isinstance(error, socket.gaierror) and error.errno is not None:
            reason = os.strerror(error.errno)  # without what `create_server` adds
        super().__init__(f"{who} cannot listen on {host}, port {port}: {reason}.")


def demand_free(who: str, host: str, port: int) -> None:
    """See that a server can listen, before it has begun anything else.

    Raises:
        CannotListenError: it could not; the message says who wants to listen where, and why it cannot.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            socket.create_server(address, family=family).close()
    except OSError as error:
        raise CannotListenError(who, host, port, error) from error


def free_port() -> int:
    """A port nobody listens on now, outside the range that outgoing connections are given.

    There a client that keeps calling a stopped server would in the end be given the server's
    own port, and talk to itself.
    """
    top = _ephemeral_start()
    if top <= LOWEST:
        return _any_port()
    for _ in range(TRIES):
        port = random.SystemRandom().randrange(LOWEST, top)
        if is_free(port):
            return port
    return _any_port()


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _ephemeral_start() -> int:
    if not _RANGE.exists():
        return EPHEMERAL
    return min(EPHEMERAL, int(_RANGE.read_text().split()[0]))


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
