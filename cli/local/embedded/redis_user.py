"""The rights of the processes in Redis, as rules of an access control list."""

from typing import Final

NAME: Final = "runyard"

DATABASES: Final = 16  # the default of Redis

COMMANDS: Final = (
    # Connections; `info` for Kombu and `runyard doctor`.
    *("ping", "select", "info", "client|setinfo", "client|setname"),
    # Queues and reserved messages.
    *("lpush", "lpushx", "rpush", "rpop", "brpop", "llen", "lrange", "del", "exists", "expire", "pexpire"),
    *("sadd", "srem", "smembers", "zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore"),
    *("hset", "hget", "hdel", "watch", "unwatch", "multi", "exec", "discard"),
    # The lock of Kombu, released by a script.
    *("set", "get", "evalsha", "script|exists", "script|load", "time"),
    # Events of runs; commands to workers and their replies.
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
"""The channels. Redis compares a pattern subscription with these literally."""


def rules_of(prefix: str = "") -> str:
    """The rules after a user's name and password, for `redis.conf`, an `aclfile` or `ACL SETUSER`.

    Args:
        prefix: `RUNYARD_REDIS_PREFIX`; without one all keys are allowed, since settings name the queues.
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
"""The rules of an installation that does not share its Redis."""
