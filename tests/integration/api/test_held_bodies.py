"""What a connection holds of a body before anybody has asked for it."""

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.dialects import DIALECTS
from api.traffic import connection_limiter
from api.traffic.connection_limiter import ConnectionLimiter
from api.traffic.http_protocol import FREELY_HELD, protocol_for
from tests.support.waiting import wait_until

MEGABYTE = 1_000_000
ONE_READ = 262_144  # bytes that a transport may hand over at once
HEAD = b"POST /api/assistants HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
SPARE = 1000


class Application:
    """Asks for a body when it is told to, and answers with its length."""

    def __init__(self):
        self.may_ask = asyncio.Event()
        self.begun = 0

    async def __call__(self, _scope, receive, send):
        self.begun += 1
        await self.may_ask.wait()
        length, more = 0, True
        while more:
            message = await receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(length).encode()})


class Listening:
    """A server in this loop, and its connections."""

    def __init__(self, settings):
        self.application = Application()
        self.limiter = ConnectionLimiter(settings, DIALECTS.render_of)
        config = uvicorn.Config(
            self.application, http=protocol_for(self.limiter), lifespan="off", log_config=None
        )
        config.load()
        state = ServerState()
        self._make = lambda: config.http_protocol_class(config=config, server_state=state, app_state={})
        self.writers = []

    async def __aenter__(self):
        self._server = await asyncio.get_running_loop().create_server(self._make, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.application.may_ask.set()
        for writer in self.writers:
            writer.close()
        self._server.close()

    async def post(self, size, *, sent):
        """Begin a request of a size, and send so much of its body with its head."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(HEAD % size + b"x" * sent)
        return reader, writer

    @property
    def held(self):
        return [connection.held for connection in self.limiter._ordinary]

    async def until(self, condition):
        await asyncio.to_thread(wait_until, condition, timeout=20, what="the server to have come so far")


@pytest.fixture
async def listening(settings):
    async with Listening(settings) as listening:
        yield listening


async def test_no_more_is_read_of_a_body_than_came_with_its_head(listening):
    reader, writer = await listening.post(MEGABYTE, sent=SPARE)
    await listening.until(lambda: listening.application.begun)
    writer.write(b"x" * (MEGABYTE - SPARE))
    for _ in range(50):
        await asyncio.sleep(0.01)
    assert listening.held == [SPARE]
    listening.application.may_ask.set()
    answer = await asyncio.wait_for(reader.readuntil(b"%d" % MEGABYTE), 20)
    assert answer.startswith(b"HTTP/1.1 200")


async def test_beyond_what_all_may_hold_a_body_is_refused_and_let_go(listening, monkeypatch):
    monkeypatch.setattr(connection_limiter, "MAX_HELD_BODIES", 2 * ONE_READ)
    readers = [(await listening.post(MEGABYTE, sent=ONE_READ - SPARE))[0] for _ in range(12)]
    await listening.until(lambda: listening.application.begun == 12)
    done, _ = await asyncio.wait(
        [asyncio.create_task(reader.read(12)) for reader in readers],
        timeout=20,
        return_when="FIRST_COMPLETED",
    )
    assert {task.result() for task in done} == {b"HTTP/1.1 503"}
    await listening.until(lambda: sum(listening.held) <= 2 * ONE_READ + FREELY_HELD)
    small, _ = await listening.post(10, sent=10)
    listening.application.may_ask.set()
    assert (await asyncio.wait_for(small.read(12), 20)) == b"HTTP/1.1 200"
