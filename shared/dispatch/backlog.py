"""What waits in the broker's queues: which attempts' messages are still there, so that none is sent twice."""

from collections.abc import Collection
from typing import Any, Final

import orjson
import redis

MOST: Final = 10_000
"""Messages that are looked at; a longer backlog is not known by its tasks."""

MOST_BYTES: Final = 16 * 1_048_576
"""Bytes of messages that are looked at; ours have a thousand each."""

SLICE: Final = 100
"""Messages that are read at once."""


def task_ids(client: redis.Redis, queues: Collection[str]) -> frozenset[str] | None:
    """Return the ids of the tasks whose messages wait, or None if there is too much to look at.

    A queue is read from its new end: while it is read, messages come before what was read, and go behind
    what is left, so that none is overlooked.

    Raises:
        redis.RedisError: Redis is away, or its user may not read the queues.
    """
    found: set[str] = set()
    count = size = 0
    for queue in queues:
        start = 0
        while messages := client.lrange(queue, start, start + SLICE - 1):
            start += SLICE
            count += len(messages)
            size += sum(map(len, messages))
            if count > MOST or size > MOST_BYTES:
                return None
            found.update(filter(None, map(_task_id, messages)))
    return frozenset(found)


def _task_id(message: bytes | str) -> str | None:
    """The id of the task in a message; None if it is no message of ours, which workers drop."""
    try:
        envelope: Any = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    headers = envelope.get("headers") if isinstance(envelope, dict) else None
    identifier = headers.get("id") if isinstance(headers, dict) else None
    is_possible = isinstance(identifier, str) and identifier.isascii() and identifier.isprintable()
    return identifier if is_possible else None  # PostgreSQL takes no NUL, and compares the ids
