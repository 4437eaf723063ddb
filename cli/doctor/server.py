"""Findings about PostgreSQL: version, role, schema, clock."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, func, select, text

from cli.doctor.findings import Finding, Severity
from shared.migrations.schema import Schema, schema_of

Clock = Callable[[], float]
"""An instant in epoch seconds."""

MIN_VERSION: Final = 15
"""The tables need a foreign key that sets only one of its columns to null."""

MAX_SKEW: Final = 2.0
"""Seconds that two clocks may differ."""


def examine_server(connection: Connection, clock: Clock) -> list[Finding]:
    """Check version, role and clock.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL does not answer.
    """
    findings = []
    version, number = connection.execute(
        select(func.current_setting("server_version"), func.current_setting("server_version_num"))
    ).one()
    if int(number) < MIN_VERSION * 10_000:
        advice = f"Runyard needs PostgreSQL {MIN_VERSION} or newer."
        findings.append(Finding("PostgreSQL", Severity.PROBLEM, f"Version {version}.", advice))
    else:
        findings.append(Finding("PostgreSQL", Severity.OK, f"Answers; version {version}."))

    # The rights of the role bound what a compromised process can reach.
    name, is_super, creates = connection.execute(
        text(
            "SELECT rolname, rolsuper, rolcreaterole OR rolcreatedb"
            " OR coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false)"
            " FROM pg_roles WHERE rolname = current_user"
        )
    ).one()
    if is_super or creates:
        seen = f"{name!r} is a superuser." if is_super else f"{name!r} may create tables, roles or databases."
        advice = (
            "Use a role without these rights, and another in RUNYARD_MIGRATION_DATABASE_URL: see roles.sql."
        )
        findings.append(Finding("Role", Severity.WARNING, seen, advice))
    else:
        findings.append(Finding("Role", Severity.OK, f"{name!r} reads and writes rows, and creates nothing."))

    before = clock()
    server_time = float(connection.scalars(select(func.extract("epoch", func.clock_timestamp()))).one())
    after = clock()
    skew = server_time - (before + after) / 2
    seen = f"PostgreSQL's is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}."
    if abs(skew) - (after - before) / 2 <= MAX_SKEW:
        return [*findings, Finding("Clock", Severity.OK, seen)]
    advice = (
        "Set both machines by NTP. Leases and limits use PostgreSQL's clock, times of events each machine's."
    )
    return [*findings, Finding("Clock", Severity.WARNING, seen, advice)]


def examine_schema(connection: Connection) -> Finding:
    """Compare the schema with that of this release. A schema that cannot be used is a problem.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL does not answer.
    """
    match schema_of(connection):
        case Schema.CURRENT:
            return Finding("Schema", Severity.OK, "Is this release's.")
        case Schema.NEWER:
            advice = "Install the release that migrated it. The release before that works, too."
            return Finding("Schema", Severity.WARNING, "Is a newer release's.", advice)
        case Schema.BEHIND:
            return Finding("Schema", Severity.PROBLEM, "Migrations are missing.", "Run `runyard migrate`.")
