"""Which processes of the installation go on, by what they say in PostgreSQL."""

from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from shared import beats
from shared.doctor.findings import Finding, Severity
from shared.models import ProcessKind
from shared.settings import Settings

NAMED: Final = 10
"""Silent workers that are named in a finding."""

MISSED: Final = 3
"""Beats that may be missing before a process counts as silent."""


def examine_processes(session: Session, settings: Settings) -> list[Finding]:
    """Look for the reconciler, and for workers that fell silent without having been stopped.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL could not be asked.
    """
    silent = _silent_workers(session, settings)
    return [_reconciler(session, settings), *([silent] if silent else [])]


def _reconciler(session: Session, settings: Settings) -> Finding:
    heard = beats.latest(session, ProcessKind.RECONCILER)
    if heard is not None and heard.seconds_ago <= _patience(settings, settings.reconcile_interval):
        return Finding("Reconciler", Severity.OK, f"{heard.name} did a round {heard.seconds_ago:.0f} s ago.")
    seen = (
        f"{heard.name} has done no round for {heard.seconds_ago:.0f} s." if heard else "None does its rounds."
    )
    advice = "Start `runyard reconciler`: without it lost runs stay lost, and limits are not kept."
    return Finding("Reconciler", Severity.PROBLEM, seen, advice)


def _silent_workers(session: Session, settings: Settings) -> Finding | None:
    patience = _patience(settings, settings.heartbeat)
    silent = beats.silent(session, ProcessKind.WORKER, after=patience, limit=NAMED)
    if not silent:
        return None
    seen = ", ".join(f"{one.name} has not been heard of for {one.seconds_ago:.0f} s" for one in silent)
    advice = "It was killed, is stopped, hangs, or does not reach PostgreSQL: look for it on its machine."
    return Finding("Silent workers", Severity.WARNING, f"{seen}.", advice)


def _patience(settings: Settings, pause: timedelta) -> float:
    """Seconds of silence that mean nothing yet."""
    return max(settings.lease_ttl, MISSED * pause).total_seconds()
