"""What is to be said of PostgreSQL itself: its version, its schema, its clock."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, func, select, text

from shared.doctor.findings import Finding, Severity
from shared.migrations.upgrade import Schema, schema_of

Clock = Callable[[], float]
"""An instant in epoch seconds."""

OLDEST: Final = 15
"""The major version that the tables need: a foreign key that sets one of its columns to null."""

SKEW: Final = 2.0
"""Seconds that two clocks may differ before people who compare times are misled."""


def examine_server(connection: Connection, clock: Clock) -> list[Finding]:
    """Look at PostgreSQL.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it does not answer.
    """
    return [_version(connection), _role(connection), _clock(connection, clock)]


def _version(connection: Connection) -> Finding:
    version, number = connection.execute(
        select(func.current_setting("server_version"), func.current_setting("server_version_num"))
    ).one()
    if int(number) < OLDEST * 10_000:
        advice = f"Runyard needs PostgreSQL {OLDEST} or newer."
        return Finding("PostgreSQL", Severity.PROBLEM, f"Version {version}.", advice)
    return Finding("PostgreSQL", Severity.OK, f"Answers; version {version}.")


def _role(connection: Connection) -> Finding:
    """Say whether whoever takes over a process has rows in reach, or the schema and the machine, too."""
    name, is_super, creates = connection.execute(
        text(
            "SELECT rolname, rolsuper, rolcreaterole OR rolcreatedb"
            " OR coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false)"
            " FROM pg_roles WHERE rolname = current_user"
        )
    ).one()
    if not is_super and not creates:
        return Finding("Role", Severity.OK, f"{name!r} reads and writes rows, and makes nothing.")
    seen = f"{name!r} is a superuser." if is_super else f"{name!r} may create tables, roles or databases."
    advice = "Use a role that may not, and another in RUNYARD_MIGRATION_DATABASE_URL: see roles.sql."
    return Finding("Role", Severity.WARNING, seen, advice)


def _clock(connection: Connection, clock: Clock) -> Finding:
    before = clock()
    told = float(connection.scalars(select(func.extract("epoch", func.clock_timestamp()))).one())
    after = clock()
    skew = told - (before + after) / 2
    seen = f"PostgreSQL's is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}."
    if abs(skew) - (after - before) / 2 <= SKEW:
        return Finding("Clock", Severity.OK, seen)
    advice = (
        "Set both machines by NTP. Leases and limits go by PostgreSQL's clock, times in events by each's."
    )
    return Finding("Clock", Severity.WARNING, seen, advice)


def examine_schema(connection: Connection) -> Finding:
    """Compare the schema with this release's; a problem if it cannot be worked with.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL does not answer.
    """
    match schema_of(connection):
        case Schema.CURRENT:
            return Finding("Schema", Severity.OK, "Is this release's.")
        case Schema.NEWER:
            advice = "Install the release that migrated it; one release back still works."
            return Finding("Schema", Severity.WARNING, "Is a newer release's.", advice)
        case Schema.BEHIND:
            return Finding("Schema", Severity.PROBLEM, "Migrations are missing.", "Run `runyard migrate`.")
