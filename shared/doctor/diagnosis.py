"""What is wrong with an installation, as far as can be told from one machine; nothing is changed."""

import importlib.metadata
import platform
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.addresses import AddressError
from shared.database_errors import is_passing
from shared.db import make_engine
from shared.doctor.broker import examine_broker
from shared.doctor.findings import Finding, Severity, first_line
from shared.doctor.invariants import RULES, Violation, check
from shared.doctor.processes import examine_processes
from shared.doctor.sandbox import examine_sandbox
from shared.doctor.server import Clock, examine_schema, examine_server
from shared.doctor.stuck import examine_runs
from shared.doctor.variables import examine_settings
from shared.settings import Settings

AWAY: Final = "Start it, or correct RUNYARD_DATABASE_URL: nothing works without it."
REFUSED: Final = "Is RUNYARD_DATABASE_URL right, and does the database belong to this release?"
BROKEN: Final = "Keep the database as it is and report this: no fault of a machine explains it."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was looked at, and every invariant that does not hold."""

    findings: list[Finding]
    violations: list[Violation]

    @property
    def worst(self) -> Severity:
        """The severity of the worst finding."""
        found = {finding.severity for finding in self.findings}
        return next(one for one in (Severity.PROBLEM, Severity.WARNING, Severity.OK) if one in found)


def diagnose(settings: Settings, *, clock: Clock = time.time) -> Diagnosis:
    """Look at everything in reach. Nothing is raised: what does not answer is a finding."""
    broker = examine_broker(settings)
    database = _examine_database(settings, clock, waiting=broker.waiting)
    return Diagnosis(
        [
            _versions(),
            *examine_settings(settings),
            *broker.findings,
            *database.findings,
            examine_sandbox(settings),
        ],
        database.violations,
    )


def _versions() -> Finding:
    runyard, celery = map(importlib.metadata.version, ("runyard", "celery"))
    return Finding(
        "Versions", Severity.OK, f"Runyard {runyard}, Celery {celery}, Python {platform.python_version()}."
    )


def _examine_database(settings: Settings, clock: Clock, *, waiting: frozenset[str] | None) -> Diagnosis:
    """Look as far as PostgreSQL lets us: what was found before it failed is kept."""
    found = Diagnosis([], [])
    try:
        with _reading(settings) as connection:
            found.findings.extend(examine_server(connection, clock))
            found.findings.append(schema := examine_schema(connection))
            if schema.severity is not Severity.PROBLEM:
                with Session(connection) as session:
                    found.findings.extend(examine_processes(session, settings))
                    found.findings.extend(examine_runs(session, settings, waiting=waiting))
                    found.violations.extend(check(session))
                found.findings.append(_invariants(found.violations))
    except AddressError as error:
        found.findings.append(Finding("PostgreSQL", Severity.PROBLEM, error.message, AWAY))
    except SQLAlchemyError as error:
        advice = AWAY if is_passing(error) else REFUSED
        found.findings.append(Finding("PostgreSQL", Severity.PROBLEM, first_line(error), advice))
    return found


@contextmanager
def _reading(settings: Settings) -> Generator[Connection]:
    """A connection that PostgreSQL itself keeps from writing.

    Raises:
        shared.addresses.AddressError: its address is none of PostgreSQL.
        sqlalchemy.exc.SQLAlchemyError: there is none to be had.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with engine.execution_options(postgresql_readonly=True).connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _invariants(violations: Sequence[Violation]) -> Finding:
    if not violations:
        return Finding("Invariants", Severity.OK, f"All {len(RULES)} hold.")
    broken = ", ".join(sorted({violation.name for violation in violations}))
    return Finding("Invariants", Severity.PROBLEM, f"{len(violations)} violations: {broken}.", BROKEN)
