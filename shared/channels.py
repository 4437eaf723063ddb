"""Redis pub/sub: the channel of a run, and publishing on it what nobody else can have published.

Redis may be shared, or lost to a stranger: what its channels say is believed only with the seal of one of our
processes. Anything else says no more than "look again", and the reader looks into PostgreSQL.
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
    """A client for publishing: short timeouts, and no second try.

    Raises:
        shared.addresses.AddressError: `settings.redis_url` is none of a Redis that we can use.
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
"""What is published instead of events by who does not know the secret: look again."""

Secret = Callable[[], bytes | None]
"""Returns the installation's secret, or None while PostgreSQL cannot be asked for it."""

SECRET_RETRY: Final = 1.0  # seconds until PostgreSQL is asked again

log = structlog.get_logger(__name__)


class InstallationSecret:
    """Reads the secret once, by a connection of its own; callable from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret: bytes | None = None
        self._ask_at = 0.0
        self._asking = threading.Lock()

    def __call__(self) -> bytes | None:
        """Return the secret, or None while it cannot be had: then it is asked for again a second later."""
        with self._asking:
            if self._secret is None and time.monotonic() >= self._ask_at:
                self._secret = self._read()
                self._ask_at = time.monotonic() + SECRET_RETRY
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
    """A message that readers of this channel will believe."""
    return _seal(channel, body, secret) + body


def unsealed(channel: str, message: bytes, secret: bytes | None) -> bytes | None:
    """The body of a message, or None if it was not sealed for this channel by one of our processes."""
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
    """Publish events of one run, as one message; without the secret only that there are some.

    Raises:
        redis.RedisError: they were not published; they are stored all the same.
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
