"""Findings about the processes of the installation, from their heartbeats in PostgreSQL."""

from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from cli.doctor.findings import Finding, Severity
from shared.models import ProcessKind
from shared.processes import beats
from shared.settings import Settings

MAX_NAMED: Final = 10
"""Silent workers in a finding."""

MISSED_BEATS: Final = 3
"""Heartbeats that may be missing before a process counts as silent."""


def examine_processes(session: Session, settings: Settings) -> list[Finding]:
    """Check the reconciler, and find workers that fell silent without a stop.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL failed.
    """
    heard = beats.latest(session, ProcessKind.RECONCILER)
    if heard is not None and heard.seconds_ago <= silence_limit(settings, settings.reconcile_interval):
        seen = f"{heard.name} did a round {heard.seconds_ago:.0f} s ago."
        reconciler = Finding("Reconciler", Severity.OK, seen)
    else:
        seen = (
            f"{heard.name} has done no round for {heard.seconds_ago:.0f} s." if heard else "None is running."
        )
        advice = "Start `runyard reconciler`: without it, lost runs stay lost and limits are not enforced."
        reconciler = Finding("Reconciler", Severity.PROBLEM, seen, advice)
    limit = silence_limit(settings, settings.heartbeat)
    silent = beats.silent(session, ProcessKind.WORKER, after=limit, limit=MAX_NAMED)
    if not silent:
        return [reconciler]
    seen = ", ".join(f"{one.name} has been silent for {one.seconds_ago:.0f} s" for one in silent)
    advice = "It was killed, is suspended, hangs, or does not reach PostgreSQL: check it on its machine."
    return [reconciler, Finding("Silent workers", Severity.WARNING, f"{seen}.", advice)]


def silence_limit(settings: Settings, interval: timedelta) -> float:
    """Seconds after which a process counts as silent, if it beats at some interval."""
    return max(settings.lease_ttl, MISSED_BEATS * interval).total_seconds()
