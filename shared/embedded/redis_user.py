"""What the processes may do in Redis, as its access control list has it."""

from typing import Final

NAME: Final = "runyard"

DATABASES: Final = 16  # as Redis has them by default

COMMANDS: Final = (
    # Connections; `info` for Kombu and `runyard doctor`.
    *("ping", "select", "info", "client|setinfo", "client|setname"),
    # Queues, and what is reserved from them.
    *("lpush", "lpushx", "rpush", "rpop", "brpop", "llen", "lrange", "del", "exists", "expire", "pexpire"),
    *("sadd", "srem", "smembers", "zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore"),
    *("hset", "hget", "hdel", "watch", "unwatch", "multi", "exec", "discard"),
    # Kombu's lock, which is released by a script.
    *("set", "get", "evalsha", "script|exists", "script|load", "time"),
    # Events of runs, orders to workers and what they tell.
    *("publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"),
)

CHANNELS: Final = (
    "runyard:*",
    *(
        f"/{database}.{exchange}"
        for database in range(DATABASES)
        for exchange in ("celery.pidbox", "celeryev", "celeryev/*")
    ),
)
"""The channels; Redis compares a subscription by pattern with these to the letter."""


def rules_of(prefix: str = "") -> str:
    """The rules behind a user's name and password, in `redis.conf`, an `aclfile` or `ACL SETUSER`.

    Args:
        prefix: `RUNYARD_REDIS_PREFIX`; without one every key is ours, since queues are named by settings.
    """
    return " ".join(
        [
            *(f"~{prefix}*", "resetchannels"),
            *(f"&{prefix}{channel}" for channel in CHANNELS),
            "-@all",
            *(f"+{command}" for command in COMMANDS),
        ]
    )


RULES: Final = rules_of()
"""The rules of an installation that has its Redis to itself."""
