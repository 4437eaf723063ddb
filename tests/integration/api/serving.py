"""The API on a real socket, in a thread, and a client that reads its event streams."""

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from api.__main__ import Server
from api.app import create_app
from api.resources import Resources
from shared.settings import Settings
from tests.support.waiting import wait_until


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
def serving(settings: Settings, *, secret: str) -> Generator[Served]:
    """Serve on a free port of loopback until the block ends; the client has the key `secret`."""
    settings = settings.model_copy(update={"api_port": 0})
    server = Server(create_app(settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
            yield Served(server, client)
    finally:
        server.should_exit = True
        thread.join(10)
