"""Redis pub/sub: the channel of each run, with messages that only this installation can seal.

Redis may be shared, or taken over: readers believe a message only with the seal of the installation's secret.
Any other message means "look again", and the reader reads PostgreSQL.
"""

import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from shared.db import make_engine
from shared.events.log import StoredEvent, encode
from shared.models import Installation
from shared.settings import Settings

PREFIX: Final = "runyard:run:"
PUBLISH_TIMEOUT: Final = 2.0  # seconds; a lost publish costs a reader one re-read, a hung one blocks all


def channel_of(run_id: uuid.UUID, *, prefix: str = "") -> str:
    """The channel on which a run's events are published; `prefix` is the installation's."""
    return f"{prefix}{PREFIX}{run_id}"


def run_of(channel: str) -> uuid.UUID:
    """The run whose channel this is."""
    return uuid.UUID(channel.rpartition(":")[2])


def make_redis(settings: Settings) -> redis.Redis:
    """A client for publishing: short timeouts, no retry.

    Raises:
        shared.addresses.base.AddressError: `settings.redis_url` is not the address of a usable Redis.
    """
    address = settings.redis_address
    return redis.Redis.from_url(
        address.url,
        **address.options,
        socket_timeout=PUBLISH_TIMEOUT,
        socket_connect_timeout=PUBLISH_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )


SEAL_BYTES: Final = 32

NEWS: Final = b"news"
"""The message of a process without the secret: "look again"."""

Secret = Callable[[], bytes | None]
"""Returns the installation's secret, or None while PostgreSQL cannot be read."""

SECRET_INTERVAL: Final = 1.0  # seconds between two attempts to read the secret

log = structlog.get_logger(__name__)


class InstallationSecret:
    """Reads the secret once, over its own connection; callable from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret: bytes | None = None
        self._ask_at = 0.0
        self._asking = threading.Lock()

    def __call__(self) -> bytes | None:
        """Return the secret, or None while it cannot be read; a later call reads again after a second."""
        with self._asking:
            if self._secret is None and time.monotonic() >= self._ask_at:
                self._secret = self._read()
                self._ask_at = time.monotonic() + SECRET_INTERVAL
            return self._secret

    def _read(self) -> bytes | None:
        engine = make_engine(self._settings, pool_size=1)
        try:
            with engine.connect() as connection:
                return connection.scalar(select(Installation.channel_secret))
        except SQLAlchemyError as error:
            log.warning("channel secret not read", error=type(error).__name__)
            return None
        finally:
            engine.dispose()


def sealed(channel: str, body: bytes, secret: bytes) -> bytes:
    """A message for a channel, with its seal."""
    return _seal(channel, body, secret) + body


def unsealed(channel: str, message: bytes, secret: bytes | None) -> bytes | None:
    """The body of a message, or None if its seal does not fit the channel and the secret."""
    seal, body = message[:SEAL_BYTES], message[SEAL_BYTES:]
    if secret is None or not hmac.compare_digest(seal, _seal(channel, body, secret)):
        return None
    return body


def _seal(channel: str, body: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(
        body,
        key=secret,
        digest_size=SEAL_BYTES,
        person=hashlib.blake2b(channel.encode(), digest_size=16).digest(),
    ).digest()


def publish(
    client: redis.Redis, events: Sequence[StoredEvent], secret: bytes | None = None, *, prefix: str = ""
) -> None:
    """Publish events of one run as one message, or NEWS without the secret.

    Raises:
        redis.RedisError: they were not published; PostgreSQL has them.
    """
    if events:
        channel = channel_of(events[0].run_id, prefix=prefix)
        send(client, channel, message_of(channel, events, secret))


def message_of(channel: str, events: Sequence[StoredEvent], secret: bytes | None) -> bytes:
    """Events as a message for the channel of their run."""
    return NEWS if secret is None else sealed(channel, encode(events), secret)


def send(client: redis.Redis, channel: str, message: bytes) -> None:
    """Publish a message.

    Raises:
        redis.RedisError: it was not published.
    """
    client.publish(channel, message)
