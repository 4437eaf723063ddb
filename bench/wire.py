"""A proxy before PostgreSQL that counts transactions and round trips, as the wire shows them."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import psycopg

from shared.processes.ports import LOOPBACK

PIECE: Final = 65_536  # bytes
HEAD: Final = 5  # bytes of a message: its type, and its length without the type
READY: Final = ord("Z")
IDLE: Final = ord("I")
PLAIN: Final = {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
"""The environment of a program behind the proxy: what is encrypted cannot be counted."""


@dataclass(slots=True)
class Traffic:
    """What went over all connections so far.

    Attributes:
        round_trips: times that a client spoke after the server had, and so waited for it in between.
        transactions: times that the server became ready outside of a transaction.
    """

    round_trips: int = 0
    transactions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *, round_trips: int = 0, transactions: int = 0) -> None:
        with self.lock:
            self.round_trips += round_trips
            self.transactions += transactions


class Answers:
    """The server's messages on one connection, cut wherever the network cut them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> int:
        """Return how many transactions have ended with these bytes."""
        self._rest += data
        ended = 0
        while len(self._rest) >= HEAD:
            length = 1 + int.from_bytes(self._rest[1:HEAD])
            if len(self._rest) < length:
                break
            ended += self._rest[0] == READY and self._rest[HEAD] == IDLE
            self._rest = self._rest[length:]
        return ended


class _Connection:
    """One connection of a client, and the one that stands for it at the server."""

    def __init__(self, client: socket.socket, server: socket.socket, traffic: Traffic) -> None:
        self._client = client
        self._server = server
        self._traffic = traffic
        self._answers = Answers()
        self._server_spoke = True
        for work in (self._forth, self._back):
            threading.Thread(target=self._carry, args=(work,), daemon=True).start()

    def _carry(self, work: Callable[[], None]) -> None:
        with suppress(OSError):
            work()
        self.close()

    def _forth(self) -> None:
        while data := self._client.recv(PIECE):
            if self._server_spoke:
                self._server_spoke = False
                self._traffic.count(round_trips=1)
            self._server.sendall(data)

    def _back(self) -> None:
        while data := self._server.recv(PIECE):
            self._server_spoke = True
            self._traffic.count(transactions=self._answers.feed(data))
            self._client.sendall(data)

    def close(self) -> None:
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def counted(database_url: str) -> Generator[tuple[str, Traffic]]:
    """Listen on a port of its own; yield the URL of the same database by it, and its traffic."""
    info = psycopg.conninfo.conninfo_to_dict(database_url)
    host, port = str(info["host"]), int(str(info["port"]))
    traffic, connections = Traffic(), list[_Connection]()
    listener = socket.create_server((LOOPBACK, 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, port))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.append(_Connection(client, server, traffic))

    threading.Thread(target=accept, daemon=True).start()
    own = listener.getsockname()[1]
    try:
        yield database_url.replace(f":{port}/", f":{own}/"), traffic
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()
