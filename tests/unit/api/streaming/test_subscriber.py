"""The connection to Redis, on one that behaves as badly as redis-py's may."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import pytest
import redis

from api.streaming.run_watch import RunWatch
from api.streaming.subscriber import Subscriber

PATIENCE = 60  # seconds; it ends at once


class Connection:
    """Loses a cancellation in one of its calls, as `asyncio.wait_for` of Python 3.11 does now and then."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.is_connected = asyncio.Event()
        self.is_there = asyncio.Event()

    def make_connection(self) -> "Connection":
        return self

    async def connect(self) -> None:
        await self._call("connect")
        self.is_connected.set()

    async def send_command(self, *_command: str, **_how: object) -> None:
        await self._call("send_command")

    async def read_response(self, **_how: object) -> None:
        await self._call("read_response")
        if self._where != "read_response":
            await asyncio.sleep(3600)

    async def disconnect(self, *, nowait: bool) -> None:
        pass

    async def _call(self, name: str) -> None:
        if name == self._where:
            self.is_there.set()
            await losing_cancellation(asyncio.sleep(3600))


async def losing_cancellation(doing: Awaitable[object]) -> None:
    try:
        await doing
    except asyncio.CancelledError:
        return


@pytest.mark.parametrize("where", ["connect", "send_command", "read_response"])
async def test_it_ends_when_it_is_told_to_whatever_it_is_doing(where):
    connection = Connection(where)
    subscriber = Subscriber(connection, RunWatch(None, reread=timedelta(hours=1)), secret=lambda: b"secret")
    running = asyncio.create_task(subscriber.run())
    if where == "send_command":
        await connection.is_connected.wait()
        subscriber._send("SUBSCRIBE", "a channel")
    await connection.is_there.wait()
    running.cancel()
    ended, _ = await asyncio.wait({running}, timeout=PATIENCE)
    assert ended


class Lost(Connection):
    """Is lost again and again, as soon as something is read."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.connects: asyncio.Queue[None] = asyncio.Queue()

    async def connect(self) -> None:
        self.connects.put_nowait(None)

    async def read_response(self, **_how: object) -> None:
        raise redis.ConnectionError


async def test_it_connects_again_however_often_the_connection_is_lost(monkeypatch):
    monkeypatch.setattr("api.streaming.subscriber.RECONNECT_INTERVAL", 0.001)
    connection = Lost()
    running = asyncio.create_task(
        Subscriber(connection, RunWatch(None, reread=timedelta(hours=1)), secret=lambda: b"secret").run()
    )
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            await connection.connects.get()
    assert not running.done()
    running.cancel()
    await asyncio.wait({running}, timeout=PATIENCE)
    assert running.cancelled()
