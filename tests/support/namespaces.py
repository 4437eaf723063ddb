"""Another network on this machine: a namespace that reaches this one through a pair of virtual interfaces."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import pytest

from shared.processes.ports import LOOPBACK

PIECE: Final = 65_536  # bytes
BACKLOG: Final = 64
END_TIMEOUT: Final = 10.0  # seconds for connections whose program has ended


class Network:
    """A network namespace, and the address at which it finds this one."""

    def __init__(self, name: str, address: str, exits: ExitStack) -> None:
        self.name = name
        self.address = address
        self._exits = exits

    def command(self, *arguments: str) -> list[str]:
        """The command that starts a program there; its process id is that of the program."""
        return ["ip", "netns", "exec", self.name, *arguments]

    @property
    def inode(self) -> int:
        """What tells the namespace from others, as `/proc/<pid>/ns/net` has it."""
        return (Path("/run/netns") / self.name).stat().st_ino

    def url(self, url: str) -> str:
        """The URL by which the namespace reaches a server that listens on our loopback."""
        parts = urlsplit(url)
        assert parts.port is not None
        port = self._exits.enter_context(_relay(self.address, parts.port))
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}{self.address}:{port}"))


@contextmanager
def other_network() -> Generator[Network]:
    """Make a network namespace, and remove it in the end; skip the test where that is not permitted."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and the command `ip`")
    number = os.getpid() % 16_384  # one pair of addresses out of a network that is for tests alone
    ours, theirs = (f"198.18.{number // 64}.{number % 64 * 4 + host}" for host in (1, 2))
    name, outside, inside = f"runyard-{os.getpid()}", f"ry{number}o", f"ry{number}i"
    refusal = _try("ip", "netns", "add", name)
    if refusal:
        pytest.skip(f"a network namespace is not permitted here: {refusal}")
    with ExitStack() as exits:
        exits.callback(_try, "ip", "netns", "delete", name)
        refusal = _try("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        if refusal:
            pytest.skip(f"a pair of virtual interfaces is not permitted here: {refusal}")
        exits.callback(_try, "ip", "link", "delete", outside)
        _run("ip", "address", "add", f"{ours}/30", "dev", outside)
        _run("ip", "link", "set", outside, "up")
        _run("ip", "-n", name, "address", "add", f"{theirs}/30", "dev", inside)
        _run("ip", "-n", name, "link", "set", inside, "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield Network(name, ours, exits)


@contextmanager
def _relay(address: str, port: int) -> Generator[int]:
    """Listen on a free port of an address for a server on our loopback; yield the port."""
    connections: list[threading.Thread] = []
    with socket.create_server((address, 0), backlog=BACKLOG) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, port, connections))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *connections):
                thread.join(END_TIMEOUT)


def _accept(listener: socket.socket, port: int, connections: list[threading.Thread]) -> None:
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:  # the end of `_relay`
            return
        connection = threading.Thread(target=_connect, args=(caller, port), daemon=True)
        connections.append(connection)
        connection.start()


def _connect(caller: socket.socket, port: int) -> None:
    with caller, socket.create_connection((LOOPBACK, port)) as server:
        there = threading.Thread(target=_pump, args=(caller, server), daemon=True)
        there.start()
        _pump(server, caller)
        there.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what one side says, and its end; a broken connection is an end too."""
    with suppress(OSError):
        while data := source.recv(PIECE):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _try(*command: str) -> str:
    """Run a command; return the reason if it fails, else nothing."""
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    return answer.stderr.strip() or f"exit code {answer.returncode}" if answer.returncode else ""


def _run(*command: Sequence[str] | str) -> None:
    refusal = _try(*map(str, command))
    assert not refusal, refusal
