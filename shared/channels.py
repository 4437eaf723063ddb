"""Redis pub/sub: the channel of a run, and publishing on it."""

import uuid
from collections.abc import Sequence
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.events.log import StoredEvent, encode
from shared.settings import Settings

PREFIX: Final = "runyard:run:"
PUBLISH_TIMEOUT: Final = 2.0  # seconds; a lost publish costs a reader one re-read, a hung one blocks all


def channel_of(run_id: uuid.UUID) -> str:
    """The channel on which a run's events are published."""
    return f"{PREFIX}{run_id}"


def run_of(channel: str) -> uuid.UUID:
    """The run whose channel this is."""
    return uuid.UUID(channel.removeprefix(PREFIX))


def make_redis(settings: Settings) -> redis.Redis:
    """A client for publishing: short timeouts, and no second try."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=PUBLISH_TIMEOUT,
        socket_connect_timeout=PUBLISH_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
    )


def publish(client: redis.Redis, events: Sequence[StoredEvent]) -> None:
    """Publish events of one run, as one message.

    Raises:
        redis.RedisError: they were not published; they are stored all the same.
    """
    if events:
        client.publish(channel_of(events[0].run_id), encode(events))
