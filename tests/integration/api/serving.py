"""The API on a real socket, in a thread or a process of its own, and clients for it."""

import json
import os
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil

from api.__main__ import Server
from api.app import create_app
from api.dialect import Dialects
from api.dialects import DIALECTS
from api.resources import Resources
from shared.processes.hidden import hidden_module
from shared.settings import Settings
from tests.support.waiting import wait_until

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Knows no authority: nobody on loopback speaks TLS here, and to read the machine's takes 20 ms a client."""


@dataclass
class Served:
    """A running server, its insides, and a client for it."""

    server: Server
    client: httpx2.Client

    @property
    def resources(self) -> Resources:
        resources: Resources = self.server.config.app.state.resources  # type: ignore[union-attr]  # an application
        return resources

    @contextmanager
    def stream(self, run_id: object, *, offset: object = None, after: object = None) -> Generator["Reader"]:
        """Open a run's stream; `after` is what a browser sends as Last-Event-ID."""
        with self.client.stream(
            "GET",
            f"/api/assistant-runs/{run_id}/events/stream",
            params={} if offset is None else {"offset": str(offset)},
            headers={} if after is None else {"Last-Event-ID": str(after)},
        ) as response:
            yield Reader(response)

    def frames(self, run_id: object, **start: Any) -> list[bytes]:
        """A stream's frames from where it starts to its end."""
        with self.stream(run_id, **start) as reader:
            return list(reader.frames())


class Reader:
    """Cuts a stream into frames."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._blocks = self._cut(response.iter_raw())

    def frames(self) -> Iterator[bytes]:
        """Frames of events; heartbeats are left out."""
        return (block for block in self._blocks if not block.startswith(b":"))

    def next(self) -> dict[str, Any]:
        """The next event, with its number as `seq`."""
        return parsed(next(self.frames()))

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next events."""
        return [self.next() for _ in range(count)]

    def next_block(self) -> bytes:
        """Whatever comes next, a heartbeat, too."""
        return next(self._blocks)

    def _cut(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        rest = b""
        for chunk in chunks:
            *blocks, rest = (rest + chunk).split(b"\n\n")
            yield from blocks
        assert rest == b"", "the stream ended in the middle of a frame"


def parsed(frame: bytes) -> dict[str, Any]:
    """The event of a frame, with its number as `seq`."""
    number, data = frame.decode().split("\n")
    assert number.startswith("id: ")
    assert data.startswith("data: ")
    return {"seq": int(number.removeprefix("id: ")), **json.loads(data.removeprefix("data: "))}


@contextmanager
def serving(settings: Settings, *, secret: str, dialects: Dialects = DIALECTS) -> Generator[Served]:
    """Serve on a free port of loopback until the block ends; the client has the key `secret`."""
    settings = settings.model_copy(update={"api_port": 0})
    server = Server(create_app(settings, dialects), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {secret}"}
        address = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=address, headers=headers, timeout=60, verify=NO_TLS) as client:
            yield Served(server, client)
    finally:
        server.should_exit = True
        thread.join(30)


@dataclass
class Process:
    """`python -m api`, and a client for it."""

    popen: subprocess.Popen[bytes]
    client: httpx2.Client
    port: int
    log_file: Path

    @property
    def memory(self) -> int:
        """Bytes that it has in memory."""
        return int(psutil.Process(self.popen.pid).memory_info().rss)

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text()

    def connect(self, timeout: float = 30) -> socket.socket:
        """A connection that has said nothing yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def exchange(self, sent: bytes, timeout: float = 30) -> bytes:
        """Send bytes on a connection of their own; return all that comes until it is closed."""
        with self.connect(timeout) as connection:
            with suppress(ConnectionError):  # it may have heard enough
                connection.sendall(sent)
            return received(connection)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes the connection, or breaks it."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def environment_of(settings: Settings, **env: str) -> dict[str, str]:
    """The environment of `python -m api`.

    Args:
        settings: which database and which Redis.
        env: more settings, by their names without the prefix.
    """
    given = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        **env,
    }
    return {**os.environ, **{f"RUNYARD_{name}": value for name, value in given.items()}}


@contextmanager
def api_process(settings: Settings, *, secret: str, patience: float = 90, **env: str) -> Generator[Process]:
    """Run the API as `runyard api` does until the block ends; the client has the key `secret`.

    Args:
        settings: which database and which Redis.
        secret: a key.
        patience: seconds until it must be ready.
        env: more settings, by their names without the prefix.
    """
    port = free_port()
    environment = environment_of(settings, **{"API_PORT": str(port), **env})
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        tempfile.NamedTemporaryFile(prefix="runyard-api-", suffix=".log") as log,
        subprocess.Popen(hidden_module("api"), env=environment, stderr=log) as popen,
        httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, verify=NO_TLS
        ) as client,
    ):
        try:
            wait_until(lambda: is_ready(client), timeout=patience, what="the API to be ready")
            yield Process(popen, client, port, Path(log.name))
        finally:
            popen.kill()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def is_ready(client: httpx2.Client) -> bool:
    """Whether the API serves."""
    try:
        return bool(client.get("/health/ready").status_code == HTTPStatus.OK)
    except httpx2.TransportError:
        return False
