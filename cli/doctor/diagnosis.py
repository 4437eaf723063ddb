"""The diagnosis of an installation, as far as one machine can see it. Nothing is changed."""

import importlib.metadata
import platform
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from cli.doctor.broker import examine_broker
from cli.doctor.findings import Finding, Severity, first_line
from cli.doctor.invariants import RULES, Violation, check
from cli.doctor.locks import examine_locks
from cli.doctor.processes import examine_processes
from cli.doctor.sandbox import examine_sandbox
from cli.doctor.server import Clock, examine_schema, examine_server
from cli.doctor.stuck import examine_runs
from cli.doctor.variables import examine_settings
from cli.listing import counted
from shared.addresses.base import AddressError
from shared.db import is_passing, make_engine
from shared.settings import Settings

AWAY: Final = "Start it, or correct RUNYARD_DATABASE_URL: nothing works without it."
REFUSED: Final = "Check RUNYARD_DATABASE_URL, and whether the database belongs to this release."
BROKEN: Final = "Keep the database unchanged and report this: no hardware fault explains it."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, and all violated invariants."""

    findings: list[Finding]
    violations: list[Violation]

    @property
    def worst(self) -> Severity:
        """The severity of the worst finding."""
        found = {finding.severity for finding in self.findings}
        return next(one for one in (Severity.PROBLEM, Severity.WARNING, Severity.OK) if one in found)


def diagnose(
    settings: Settings, *, clock: Clock = time.time, on_checked: Callable[[], object] = lambda: None
) -> Diagnosis:
    """Check everything within reach. A server that does not answer is a finding, not an error.

    Args:
        settings: the addresses, and what the processes are set to.
        clock: this machine's clock.
        on_checked: called after each of `RULES`.
    """
    broker = examine_broker(settings)
    database = _examine_database(settings, clock, waiting=broker.waiting, on_checked=on_checked)
    runyard, celery = map(importlib.metadata.version, ("runyard", "celery"))
    versions = f"Runyard {runyard}, Celery {celery}, Python {platform.python_version()}."
    return Diagnosis(
        [
            Finding("Versions", Severity.OK, versions),
            *examine_settings(settings),
            *broker.findings,
            *database.findings,
            examine_sandbox(settings),
        ],
        database.violations,
    )


def _examine_database(
    settings: Settings, clock: Clock, *, waiting: frozenset[str] | None, on_checked: Callable[[], object]
) -> Diagnosis:
    """Check PostgreSQL; findings from before a failure are kept."""
    found = Diagnosis([], [])
    try:
        with _reading(settings) as connection:
            found.findings.extend(examine_server(connection, clock))
            found.findings.append(schema := examine_schema(connection))
            if schema.severity is not Severity.PROBLEM:
                found.findings.extend(examine_locks(connection))
                with Session(connection) as session:
                    found.findings.extend(examine_processes(session, settings))
                    found.findings.extend(examine_runs(session, settings, waiting=waiting))
                    found.violations.extend(check(session, on_checked=on_checked))
                found.findings.append(_examine_invariants(found.violations))
    except AddressError as error:
        found.findings.append(Finding("PostgreSQL", Severity.PROBLEM, error.message, AWAY))
    except SQLAlchemyError as error:
        advice = AWAY if is_passing(error) else REFUSED
        found.findings.append(Finding("PostgreSQL", Severity.PROBLEM, first_line(error), advice))
    return found


def _examine_invariants(violations: Sequence[Violation]) -> Finding:
    if not violations:
        return Finding("Invariants", Severity.OK, f"All {len(RULES)} hold.")
    broken = ", ".join(sorted({violation.name for violation in violations}))
    seen = f"{counted(len(violations), 'violation')}: {broken}."
    return Finding("Invariants", Severity.PROBLEM, seen, BROKEN)


@contextmanager
def _reading(settings: Settings) -> Generator[Connection]:
    """Yield a read-only connection.

    Raises:
        shared.addresses.base.AddressError: the address is not one of PostgreSQL.
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL does not accept the connection.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with engine.execution_options(postgresql_readonly=True).connect() as connection:
            yield connection
    finally:
        engine.dispose()
