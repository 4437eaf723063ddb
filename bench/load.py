"""A light load generator: HTTP/1.1 over plain sockets, without parsing what it does not need.

It runs in the process of the bench; `cpu()` says what it costs.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

import orjson

T = TypeVar("T")

END_OF_HEAD: Final = b"\r\n\r\n"
END_OF_FRAME: Final = b"\n\n"
DATA: Final = b"data:"
ANSWERS_TIMEOUT: Final = 60.0  # seconds until all requests of a burst are answered
CLOSE_TIMEOUT: Final = 10.0  # seconds until streams that were left are closed


class NoStreamError(Exception):
    """The server has refused event streams."""


def cpu() -> float:
    """CPU seconds of this process so far."""
    return time.process_time()


@dataclass(frozen=True, slots=True)
class Server:
    """An API and a key for it."""

    host: str
    port: int
    key: str

    @classmethod
    def of(cls, url: str, key: str) -> Self:
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, key)

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """The bytes of a request."""
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered, and after how many seconds."""

    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Connection:
    """A kept connection: one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, server: Server) -> Self:
        return cls(*await asyncio.open_connection(server.host, server.port))

    async def ask(self, request: bytes) -> Answer:
        """Send a request whose answer has a Content-Length."""
        start = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(END_OF_HEAD)
        body = await self._reader.readexactly(length_of(head))
        return Answer(int(head[9:12]), body, time.perf_counter() - start)

    def close(self) -> None:
        self._writer.close()


def length_of(head: bytes) -> int:
    """The Content-Length of an answer."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError(head)


async def in_flight(
    server: Server, requests: Iterable[bytes], callers: int, *, within: float = ANSWERS_TIMEOUT
) -> list[Answer]:
    """Send requests over `callers` kept connections, one at a time on each; the answers as they come.

    Raises:
        TimeoutError: some are not answered `within` seconds from now.
        EOFError: the server closed a connection.
    """
    waiting = iter(requests)
    answers: list[Answer] = []

    async def caller() -> None:
        connection = await Connection.open(server)
        try:
            for request in waiting:
                answers.append(await connection.ask(request))  # noqa: PERF401  # the callers share the list
        finally:
            connection.close()

    async with limited(within, lambda: f"{len(answers)} requests were answered"):
        await asyncio.gather(*[caller() for _ in range(callers)])
    return answers


@asynccontextmanager
async def limited(within: float, progress: Callable[[], str]) -> AsyncGenerator[None]:
    """Limit the seconds that a block may take.

    Raises:
        TimeoutError: it takes longer; the message says how far it has come.
    """
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError:
        raise TimeoutError(f"after {within:.0f} s {progress()}") from None


@dataclass(slots=True)
class Reading:
    """What one reader of an event stream was sent, and when.

    Attributes:
        opened: seconds from the request to the first bytes of the answer.
        frames: (wall clock, bytes) of each frame, if they are kept; else only counted.
    """

    keeps: bool = False
    opened: float = 0.0
    status: int = 0
    count: int = 0
    frames: list[tuple[float, bytes]] = field(default_factory=list)


class StreamReader(asyncio.Protocol):
    """Reads one event stream until its end."""

    def __init__(self, request: bytes, reading: Reading, ended: asyncio.Future[Reading]) -> None:
        self._request = request
        self._reading = reading
        self._ended = ended
        self._buffer = b""
        self._start = time.perf_counter()
        self._transport: asyncio.Transport | None = None
        self.opened = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        reading = self._reading
        if not reading.opened:
            reading.opened = time.perf_counter() - self._start
            reading.status = int(data[9:12])
            self.opened.set()
        if not reading.keeps:
            reading.count += data.count(END_OF_FRAME)
            if data.endswith(b"0\r\n\r\n"):
                self.close()
            return
        now = time.time()
        self._buffer += data
        *whole, self._buffer = self._buffer.split(END_OF_FRAME)
        for frame in whole:
            if (at := frame.find(DATA)) >= 0:
                reading.count += 1
                reading.frames.append((now, frame[at + len(DATA) :]))
        if self._buffer.endswith(b"0\r\n\r\n"):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.opened.set()  # with status 0, if nothing was answered
        if not self._ended.done():
            self._ended.set_result(self._reading)

    def close(self) -> None:
        """Close the connection, before the end or after it."""
        if self._transport is not None:
            self._transport.close()


class Readers:
    """Many readers of event streams at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._readers: list[StreamReader] = []
        self._ends: list[asyncio.Future[Reading]] = []
        self.readings: list[Reading] = []

    async def join(self, paths: Sequence[str], *, keep_every: int = 0) -> None:
        """Open a stream for each path; every `keep_every`-th reader keeps its frames."""
        loop = asyncio.get_running_loop()
        host, port = self._server.host, self._server.port
        for path in paths:
            reading = Reading(keeps=bool(keep_every) and len(self.readings) % keep_every == 0)
            ended: asyncio.Future[Reading] = loop.create_future()
            make = partial(StreamReader, self._server.request("GET", path), reading, ended)
            _, reader = await loop.create_connection(make, host, port)
            self._readers.append(reader)
            self._ends.append(ended)
            self.readings.append(reading)

    async def opened(self, within: float) -> None:
        """Wait until all streams have begun to answer.

        Raises:
            TimeoutError: some have not, `within` seconds from now.
            NoStreamError: some were refused.
        """
        async with limited(within, lambda: f"{self._opened} of {len(self._readers)} streams have begun"):
            await asyncio.gather(*[reader.opened.wait() for reader in self._readers])
        refused = Counter(one.status for one in self.readings if one.status != HTTPStatus.OK)
        if refused:
            raise NoStreamError(f"of {len(self.readings)} streams, by status: {dict(refused)}")

    async def ended(self, within: float) -> list[Reading]:
        """Wait for the end of all streams.

        Raises:
            TimeoutError: some have not ended, `within` seconds from now.
        """
        async with limited(within, lambda: f"{self.open} of {len(self._readers)} streams have not ended"):
            return list(await asyncio.gather(*self._ends))

    async def leave(self) -> None:
        """Close all streams, and see them closed."""
        for reader in self._readers:
            reader.close()
        async with limited(CLOSE_TIMEOUT, lambda: f"{self.open} streams that were left are open"):
            await asyncio.gather(*self._ends)

    @property
    def _opened(self) -> int:
        return sum(reader.opened.is_set() for reader in self._readers)

    @property
    def open(self) -> int:
        """How many streams have not ended."""
        return sum(not end.done() for end in self._ends)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the load on an event loop made for many sockets."""
    try:
        import uvloop  # noqa: PLC0415  # only where there is one
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
