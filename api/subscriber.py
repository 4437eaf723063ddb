"""The process's one pub/sub connection to Redis, shared by every reader of every run."""

import asyncio
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import redis
import structlog
from anyio import to_thread
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.mailbox import Mailbox
from shared.channels import NEWS, InstallationSecret, Secret, channel_of, run_of, unsealed
from shared.events import log as events
from shared.settings import Settings

PING_AFTER: Final = 5.0  # seconds of silence; as many again without an answer, and the connection is dead
TIMEOUT: Final = 5.0  # seconds for connecting and for a write
RECONNECT_AFTER: Final = 0.5  # seconds
ASK_AGAIN: Final = 1.0  # seconds until PostgreSQL is asked for the secret again
DOUBT: Final = 0.05  # seconds in which whatever cannot be believed leads to one look into PostgreSQL
TELL_EVERY: Final = 10.0  # seconds between two words of what cannot be believed

Commands = asyncio.Queue[tuple[str, ...]]

log = structlog.get_logger(__name__)


class Subscriber:
    """Hands what is published on a run's channel to the mailboxes of that run's readers.

    Redis may be away at any time: nothing fails, and every (re)subscription that Redis confirms
    leaves a gap in the mailboxes of its channel, since whatever was published before is lost.
    The connection is a bare one, as redis-py's own PubSub reconnects by itself on whichever
    task meets the failure first, which two tasks on one connection do not survive.
    """

    def __init__(
        self, pool: ConnectionPool, *, buffer: int, prefix: str = "", secret: Secret = lambda: None
    ) -> None:
        self._pool = pool
        self._prefix = prefix
        self._find_secret = secret
        self._secret: bytes | None = None
        self._doubted: set[str] = set()
        self._told_at = float("-inf")
        self._buffer = buffer
        self._mailboxes: dict[str, set[Mailbox]] = {}
        self._commands: Commands | None = None  # while connected

    @classmethod
    def make(cls, settings: Settings) -> "Subscriber":
        address = settings.redis_address
        pool = ConnectionPool.from_url(
            address.url,
            **address.options,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        return cls(
            pool,
            buffer=settings.stream_buffer,
            prefix=settings.redis_prefix,
            secret=InstallationSecret(settings),
        )

    @property
    def is_connected(self) -> bool:
        return self._commands is not None

    @property
    def channels(self) -> frozenset[str]:
        """The channels that somebody listens to."""
        return frozenset(self._mailboxes)

    @contextmanager
    def listen(self, run_id: uuid.UUID) -> Generator[Mailbox]:
        """Collect what is published about a run, for as long as the block lasts."""
        channel = channel_of(run_id, prefix=self._prefix)
        mailbox = Mailbox(batches=self._buffer)
        readers = self._mailboxes.setdefault(channel, set())
        readers.add(mailbox)
        if len(readers) == 1:
            self._send("SUBSCRIBE", channel)
        try:
            yield mailbox
        finally:
            readers.remove(mailbox)
            if not readers:
                del self._mailboxes[channel]
                self._send("UNSUBSCRIBE", channel)

    def close(self) -> None:
        """Let every reader go."""
        for readers in self._mailboxes.values():
            for mailbox in readers:
                mailbox.close()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        is_first = True
        while True:
            try:
                # A task of its own: that one of its group failed must not look as if this was to end.
                await asyncio.create_task(self._serve())
            except* (redis.RedisError, OSError) as failures:
                write = log.warning if self.is_connected or is_first else log.debug
                write("pub/sub connection lost", error=str(failures.exceptions[0]))
            except* Exception:
                log.exception("pub/sub connection failed unexpectedly")
            is_first, self._commands = False, None
            _heed_cancellation()  # it may have met a failure of the connection, and gone down with that
            await asyncio.sleep(RECONNECT_AFTER)

    async def _serve(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            _heed_cancellation()
            log.info("pub/sub connected")
            self._commands = commands = Commands()
            if self._mailboxes:
                self._send("SUBSCRIBE", *self._mailboxes)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_write(connection, commands))
                tasks.create_task(self._read(connection, commands))
                tasks.create_task(self._learn_secret())
        finally:
            await connection.disconnect(nowait=True)

    def _send(self, *command: str) -> None:
        """Send a command if there is a connection; the next one subscribes to all that is needed."""
        if self._commands is not None:
            self._commands.put_nowait(command)

    async def _read(self, connection: AbstractConnection, commands: Commands) -> None:
        is_pinged = False
        while True:
            _heed_cancellation()
            reply = await connection.read_response(
                timeout=PING_AFTER, disconnect_on_error=False, push_request=True
            )
            if reply is not None:
                is_pinged = False
                self._take(reply)
            elif is_pinged:
                raise redis.TimeoutError("A ping was not answered.")
            else:
                is_pinged = True
                commands.put_nowait(("PING",))

    def _take(self, reply: Any) -> None:
        match reply:
            case [b"message", bytes(channel), bytes(message)]:
                self._deliver(channel.decode(), message)
            case [b"subscribe", bytes(channel), _]:
                self._mark_gap(channel.decode())

    async def _learn_secret(self) -> None:
        while self._secret is None:
            self._secret = await to_thread.run_sync(self._find_secret)
            if self._secret is None:
                await asyncio.sleep(ASK_AGAIN)

    def _deliver(self, channel: str, message: bytes) -> None:
        """Hand on what one of our processes has sealed; anything else is no more than a reason to look."""
        body = unsealed(channel, message, self._secret)
        if body is None:
            self._doubt(channel)
            if message != NEWS:
                self._tell("published message not sealed", channel)
            return
        try:
            batch = events.decode(body, run_id=run_of(channel))
        except (ValueError, TypeError, KeyError):  # of another release, as it is sealed
            self._doubt(channel)
            self._tell("published message not understood", channel)
            return
        if batch:
            for mailbox in self._mailboxes.get(channel, ()):
                mailbox.put(batch, size=len(message))

    def _doubt(self, channel: str) -> None:
        """Have the readers of a channel look into PostgreSQL soon: once, however much arrives until then."""
        if channel in self._mailboxes and channel not in self._doubted:
            self._doubted.add(channel)
            asyncio.get_running_loop().call_later(DOUBT, self._look_again, channel)

    def _look_again(self, channel: str) -> None:
        self._doubted.discard(channel)
        self._mark_gap(channel)

    def _tell(self, what: str, channel: str) -> None:
        if time.monotonic() >= self._told_at + TELL_EVERY:
            self._told_at = time.monotonic()
            log.warning(what, channel=channel)

    def _mark_gap(self, channel: str) -> None:
        for mailbox in self._mailboxes.get(channel, ()):
            mailbox.mark_gap()


async def _write(connection: AbstractConnection, commands: Commands) -> None:
    while True:
        await connection.send_command(*await commands.get(), check_health=False)
        _heed_cancellation()


def _heed_cancellation() -> None:
    """End a task that was to end while redis-py wrote: `asyncio.wait_for` of Python 3.11 may lose that.

    Without it a process that is told to stop at such a moment would wait for this task for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
