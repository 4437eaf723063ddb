"""Who waits for locks."""

from sqlalchemy import text

from shared.db import Sessions

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def waiting_for_locks(sessions: Sessions) -> int:
    """How many connections to the database of the sessions wait for what somebody has locked.

    It asks in a transaction of its own: one goes on seeing what it first saw of others.
    """
    with sessions() as session:
        return int(session.scalar(_WAITING) or 0)
