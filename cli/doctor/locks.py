"""Findings about sessions that hold rows or tables for long: of a person in psql, or a script."""

import time
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from cli.doctor.findings import Finding, Severity

LONG: Final = 60.0
"""Seconds for which a transaction that holds something is reported."""

LOOK_AGAIN: Final = 2.0
"""Seconds between two looks at a transaction whose age PostgreSQL tells nobody but its role."""

MAX_NAMED: Final = 3
"""Sessions in the finding."""

_HOLDERS: Final = text("""
    SELECT held.pid, held.virtualtransaction, activity.usename, activity.application_name,
        host(activity.client_addr) AS address, activity.state,
        extract(epoch FROM clock_timestamp() - activity.xact_start)::float AS age,
        pg_blocking_pids(held.pid) AS waits_for
    FROM (
        SELECT DISTINCT pid, virtualtransaction FROM pg_locks
        WHERE granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND relation IN (SELECT pg_class.oid FROM pg_class JOIN pg_namespace
                ON pg_namespace.oid = relnamespace WHERE nspname = current_schema())
            AND mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                'ExclusiveLock', 'AccessExclusiveLock')
    ) AS held
    JOIN pg_stat_activity AS activity USING (pid)
    WHERE held.pid <> pg_backend_pid()
    ORDER BY age DESC NULLS LAST, held.pid
""")

_STILL: Final = text(
    "SELECT DISTINCT pid, virtualtransaction FROM pg_locks WHERE pid = ANY(CAST(:pids AS integer[]))"
)

_WAITING: Final = text("""
    WITH RECURSIVE waiter AS MATERIALIZED (
        SELECT pid, pg_blocking_pids(pid) AS waits_for
        FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) AS waiting
    ), waiting AS (
        SELECT pid FROM waiter WHERE waits_for && CAST(:pids AS integer[])
        UNION SELECT waiter.pid FROM waiter JOIN waiting ON waiting.pid = ANY(waiter.waits_for)
    )
    SELECT count(*) FROM waiting
""")
"""All but the first of those that wait for a row wait for the one before them."""


class Holder(NamedTuple):
    """A session that holds rows or tables."""

    pid: int
    transaction: str
    role: str | None
    application: str | None
    address: str | None  # None, as is what follows, if it is another role's: PostgreSQL does not tell
    state: str | None
    age: float | None  # seconds
    waits_for: list[int]  # sessions, by their ids

    def __str__(self) -> str:
        """The session, for an operator who looks for its owner."""
        facts = [
            f"role {self.role!r}",
            self.application and repr(self.application),
            self.address and f"from {self.address}",
            self.state,
            f"for at least {LOOK_AGAIN:g} s" if self.age is None else f"for {self.age:.0f} s",
        ]
        return f"{self.pid} ({', '.join(filter(None, facts))})"


def examine_locks(connection: Connection) -> list[Finding]:
    """Name the sessions that hold something of ours for long, and say how many others wait for them.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL failed.
    """
    found = [Holder(*row) for row in connection.execute(_HOLDERS)]
    pids = {holder.pid for holder in found}
    # Who waits for another of them holds something, too, but only as long as the other does.
    holders = _long(connection, [holder for holder in found if pids.isdisjoint(holder.waits_for)])
    if not holders:
        return []
    waiting = connection.scalars(_WAITING, {"pids": [holder.pid for holder in holders]}).one()
    named = ", ".join(map(str, holders[:MAX_NAMED])) + (", …" if len(holders) > MAX_NAMED else "")
    seen = (
        f"Sessions of PostgreSQL that hold rows or tables for long, by their process ids: {named}."
        f" Sessions that wait for them: {waiting}."
    )
    advice = f"Ask whoever began them, or end them: SELECT pg_terminate_backend({holders[0].pid})."
    return [Finding("Locks", Severity.WARNING, seen, advice)]


def _long(connection: Connection, holders: list[Holder]) -> list[Holder]:
    """Those that hold something for `LONG`, or as far as can be told, over two looks."""
    if unknown := [holder for holder in holders if holder.age is None]:
        time.sleep(LOOK_AGAIN)
        rows = connection.execute(_STILL, {"pids": [holder.pid for holder in unknown]})
        still = {(pid, transaction) for pid, transaction in rows}
        unknown = [holder for holder in unknown if (holder.pid, holder.transaction) in still]
    return [holder for holder in holders if holder.age is not None and holder.age > LONG] + unknown
