"""The process's one pub/sub connection to Redis, shared by every reader of every run."""

import asyncio
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import redis
import structlog
from anyio import to_thread
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.streaming.batch import Batch
from api.streaming.run_watch import Listener, RunWatch
from shared.events import log as events
from shared.events.channels import NEWS, InstallationSecret, Secret, channel_of, run_of, unsealed
from shared.metrics import definitions as metrics
from shared.settings import Settings

PING_INTERVAL: Final = 5.0  # seconds of silence; as many again without an answer, and the connection is dead
TIMEOUT: Final = 5.0  # seconds for connecting and for a write
RECONNECT_INTERVAL: Final = 0.5  # seconds
SECRET_INTERVAL: Final = 1.0  # seconds between two reads of the secret
LOG_INTERVAL: Final = 10.0  # seconds between two log lines about untrusted messages

Commands = asyncio.Queue[tuple[str, ...]]

log = structlog.get_logger(__name__)


class Subscriber:
    """Hands what is published on a run's channel to the listeners of that run.

    Redis may be away at any time: nothing fails, and every (re)subscription that Redis confirms
    is a doubt about its run, since whatever was published before is lost.
    The connection is a bare one, as redis-py's own PubSub reconnects by itself on whichever
    task meets the failure first, which two tasks on one connection do not survive.
    """

    def __init__(
        self, pool: ConnectionPool, watch: RunWatch, *, prefix: str = "", secret: Secret = lambda: None
    ) -> None:
        self._pool = pool
        self._watch = watch
        self._prefix = prefix
        self._find_secret = secret
        self._secret: bytes | None = None
        self._told_at = float("-inf")
        self._commands: Commands | None = None  # while connected

    @classmethod
    def make(cls, settings: Settings, watch: RunWatch) -> "Subscriber":
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
            watch,
            prefix=settings.redis_prefix,
            secret=InstallationSecret(settings),
        )

    @property
    def is_connected(self) -> bool:
        return self._commands is not None

    @property
    def channels(self) -> frozenset[str]:
        """The channels that somebody listens to."""
        return frozenset(map(self._channel_of, tuple(self._watch.runs)))

    @contextmanager
    def listen(self, run_id: uuid.UUID, listener: Listener) -> Generator[None]:
        """Tell a listener what is published about a run, and what the run watch sees, during the block."""
        channel = self._channel_of(run_id)
        if run_id not in self._watch.runs:
            self._send("SUBSCRIBE", channel)
        try:
            with self._watch.listening(run_id, listener):
                yield
        finally:
            if run_id not in self._watch.runs:
                self._send("UNSUBSCRIBE", channel)

    def doubt(self, run_id: uuid.UUID) -> None:
        """Have the run watch look after a run soon: something may have been missed."""
        self._watch.doubt(run_id)

    def close(self) -> None:
        """Let every listener go."""
        self._watch.close()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        is_first = True
        while True:
            try:
                # A task of its own: that one of its group failed must not look as if this was to end.
                await asyncio.create_task(self._serve())
            except* (redis.RedisError, OSError) as failures:
                metrics.BROKER_ERRORS.inc("subscriber")
                write = log.warning if self.is_connected or is_first else log.debug
                write("pub/sub connection lost", error=str(failures.exceptions[0]))
            except* Exception:
                log.exception("pub/sub connection failed unexpectedly")
            is_first, self._commands = False, None
            _heed_cancellation()  # it may have met a failure of the connection, and gone down with that
            await asyncio.sleep(RECONNECT_INTERVAL)

    async def _serve(self) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's

        async def write(commands: Commands) -> None:
            while True:
                await connection.send_command(*await commands.get(), check_health=False)
                _heed_cancellation()

        async def learn_secret() -> None:
            while self._secret is None:
                self._secret = await to_thread.run_sync(self._find_secret)
                if self._secret is None:
                    await asyncio.sleep(SECRET_INTERVAL)

        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            _heed_cancellation()
            log.info("pub/sub connected")
            self._commands = commands = Commands()
            if self.channels:
                self._send("SUBSCRIBE", *self.channels)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write(commands))
                tasks.create_task(self._read(connection, commands))
                tasks.create_task(learn_secret())
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
                timeout=PING_INTERVAL, disconnect_on_error=False, push_request=True
            )
            if reply is not None:
                is_pinged = False
                match reply:
                    case [b"message", bytes(channel), bytes(message)]:
                        self._deliver(channel.decode(), message)
                    case [b"subscribe", bytes(channel), _]:
                        self._watch.doubt(run_of(channel.decode()))
            elif is_pinged:
                raise redis.TimeoutError("A ping was not answered.")
            else:
                is_pinged = True
                commands.put_nowait(("PING",))

    def _deliver(self, channel: str, message: bytes) -> None:
        """Hand on what one of our processes has sealed; anything else is no more than a reason to look."""
        run_id = run_of(channel)
        body = unsealed(channel, message, self._secret)
        if body is None:
            self._watch.doubt(run_id)
            if message != NEWS:
                self._tell("published message not sealed", channel)
            return
        try:
            batch = Batch(events.decode(body, run_id=run_id))
        except (ValueError, TypeError, KeyError):  # of another release, as it is sealed
            self._watch.doubt(run_id)
            self._tell("published message not understood", channel)
            return
        if batch:
            batch.arrived_at = time.monotonic()
            for listener in self._watch.listeners(run_id):
                listener.put(batch, size=len(message))

    def _channel_of(self, run_id: uuid.UUID) -> str:
        return channel_of(run_id, prefix=self._prefix)

    def _tell(self, what: str, channel: str) -> None:
        if time.monotonic() >= self._told_at + LOG_INTERVAL:
            self._told_at = time.monotonic()
            log.warning(what, channel=channel)


def _heed_cancellation() -> None:
    """End a task that was to end while redis-py wrote: `asyncio.wait_for` of Python 3.11 may lose that.

    Without it a process that is told to stop at such a moment would wait for this task for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
