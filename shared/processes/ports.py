"""Ports and loopback addresses."""

import os
import random
import socket
from pathlib import Path
from typing import Final

from shared.errors import RunyardError

LOOPBACK: Final = "127.0.0.1"
LOWEST: Final = 10_240
EPHEMERAL: Final = 32_768  # the first port that Linux assigns to outgoing connections
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES: Final = 100


class CannotListenError(RunyardError):
    """A server cannot listen on an address or a port."""

    def __init__(self, who: str, host: str, port: int, error: OSError) -> None:
        reason = error.strerror or str(error)
        if not isinstance(error, socket.gaierror) and error.errno is not None:
            reason = os.strerror(error.errno)  # without the addition of `create_server`
        super().__init__(f"{who} cannot listen on {host}, port {port}: {reason}.")


def demand_free(who: str, host: str, port: int) -> None:
    """Check that a server can listen, before it starts anything else.

    Raises:
        CannotListenError: it cannot; the message names server, address, port and reason.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            socket.create_server(address, family=family).close()
    except OSError as error:
        raise CannotListenError(who, host, port, error) from error


def free_port() -> int:
    """Return a free port outside the range of outgoing connections.

    Inside that range, a client that keeps calling a stopped server may be assigned the server's own
    port, and connect to itself.
    """
    top = min(EPHEMERAL, int(_RANGE.read_text().split()[0])) if _RANGE.exists() else EPHEMERAL
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


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
