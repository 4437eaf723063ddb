"""Many callers at once, each on a connection of its own: no more of a client than that needs."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class Crowd:
    """Callers of an API on loopback, with a key."""

    port: int
    secret: str

    def request(self, method: str, path: str, body: bytes = b"{}") -> bytes:
        """A request as it is sent."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.secret}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def send(self, requests: Sequence[bytes], *, callers: int) -> Counter[int]:
        """Send requests, as many at once as there are callers, each of whom waits for its answer.

        Returns:
            How often there was each status; 0 is a connection that broke.
        """
        left = iter(requests)
        answered: Counter[int] = Counter()

        async def call() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                for request in left:
                    writer.write(request)
                    answered[await _status(reader)] += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                answered[0] += 1
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call())
        return answered


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    await reader.readexactly(int(length.group(1)) if length else 0)
    return int(head.split(b" ", 2)[1])
