"""Runs that are not where they should be by now.

What the reconciler mends is a problem once it has had several rounds for it: then it is not there.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, func, not_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from shared.doctor.findings import Finding, Severity
from shared.models import Run
from shared.runs import queries, shares
from shared.runs.admission import find_free_threads_waited_for
from shared.runs.lifecycle import ACTIVE, Reason, RunStatus
from shared.settings import Settings

ROUNDS: Final = 3
"""Rounds of the reconciler until something it would have mended is called overlooked."""

LONG: Final = timedelta(minutes=1)
"""A wait for a worker that somebody should know of."""

RECENT: Final = timedelta(minutes=15)
"""For how long a loss that was dealt with is still told."""

NAMED: Final = 3
"""Runs or threads that a finding names."""

RECONCILE: Final = "Is `runyard reconciler` running, and is PostgreSQL in its reach? See its log."


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A way in which runs may be stuck."""

    name: str
    severity: Severity
    condition: ColumnElement[bool]
    what: str
    advice: str


def patience(settings: Settings) -> timedelta:
    """How long the reconciler may take for what it mends; after an outage it leaves workers a lease."""
    return settings.lease_ttl + ROUNDS * settings.reconcile_interval


def examine_runs(session: Session, settings: Settings, *, waiting: frozenset[str] | None) -> list[Finding]:
    """Count the runs that have not ended, and find those that are stuck.

    Args:
        waiting: the ids of the tasks whose messages wait in the broker; None if unknown.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL could not be asked.
    """
    suspicions = [*_of_dispatch(settings, waiting), *_of_workers(settings), *_of_limits(settings)]
    found = [_find(session, suspicion) for suspicion in suspicions]
    return [
        _overview(session),
        _demand(session, settings),
        *filter(None, [*found, _overlooked_threads(session), _lost(session)]),
    ]


def _overview(session: Session) -> Finding:
    counted = (
        select(Run.status, func.count().label("runs")).where(Run.status.in_(ACTIVE)).group_by(Run.status)
    )
    counts = {row.status: row.runs for row in session.execute(counted)}
    said = ", ".join(f"{counts.get(status, 0)} {status}" for status in RunStatus if status in ACTIVE)
    return Finding("Runs", Severity.OK, f"{said}.")


def _demand(session: Session, settings: Settings) -> Finding:
    """How many runs want a worker: what to scale workers by."""
    by_queue = queries.count_waiting(session, settings.queue_of, share=settings.running_share)
    said = ", ".join(f"{count} of {queue!r}" for queue, count in by_queue.items())
    return Finding("Demand", Severity.OK, f"Runs that wait for a worker: {said}.")


def _of_dispatch(settings: Settings, waiting: frozenset[str] | None) -> list[Suspicion]:
    undelivered = queries.is_undelivered(
        after=settings.republish_after,
        waiting=waiting,
        share=settings.running_share,
        since=patience(settings),
    )
    held_back = shares.is_held_back(settings.running_share)
    long = and_(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, Run.queued_at < func.now() - LONG)
    return [
        Suspicion("Undispatched", Severity.PROBLEM, undelivered, "QUEUED and not sent again", RECONCILE),
        Suspicion(
            "Waiting",
            Severity.WARNING,
            and_(long, ~held_back),
            f"QUEUED for over {LONG.total_seconds():g} s, taken by no worker",
            "Add workers, or raise their RUNYARD_CONCURRENCY.",
        ),
        Suspicion(
            "Held back",
            Severity.WARNING,
            and_(long, held_back),
            f"QUEUED for over {LONG.total_seconds():g} s: their tenants have their share of workers",
            "They go on as others of the same tenant end; RUNYARD_RUNNING_SHARE sets how many may run.",
        ),
    ]


def _of_workers(settings: Settings) -> list[Suspicion]:
    late = patience(settings)
    goes_on = and_(
        Run.is_stopping,
        not_(queries.lease_lapsed()),
        Run.completed_at < func.now() - 2 * settings.cancel_grace,
    )
    return [
        Suspicion(
            "Lost",
            Severity.PROBLEM,
            queries.is_lost(lease_ttl=settings.lease_ttl, since=late),
            "held under a lease that has lapsed, not taken over",
            RECONCILE,
        ),
        Suspicion(
            "Stop unconfirmed",
            Severity.PROBLEM,
            queries.stops_unconfirmed(since=late),
            "CANCELLED, with a receipt that its lost worker left open",
            RECONCILE,
        ),
        Suspicion(
            "Still stopping",
            Severity.WARNING,
            goes_on,
            "CANCELLED, and work that goes on after the grace",
            "See the log of the worker that has it; the run's row names it.",
        ),
    ]


def _of_limits(settings: Settings) -> list[Suspicion]:
    late = patience(settings)
    expired = queries.is_expired(queue_ttl=settings.queue_ttl, since=late)
    overdue = queries.is_overdue(
        max_duration=settings.max_duration,
        margin=settings.cancel_grace + queries.OVERDUE_MARGIN,
        since=late,
    )
    return [
        Suspicion("Expired", Severity.PROBLEM, expired, "QUEUED for longer than it may", RECONCILE),
        Suspicion("Overdue", Severity.PROBLEM, overdue, "RUNNING for longer than it may", RECONCILE),
    ]


def _find(session: Session, suspicion: Suspicion) -> Finding | None:
    oldest = func.array_agg(aggregate_order_by(Run.id, Run.created_at))[1:NAMED]
    count, named = session.execute(select(func.count(), oldest).where(suspicion.condition)).one()
    if count == 0:
        return None
    seen = f"{suspicion.what}: {count}, the oldest {', '.join(map(str, named))}."
    return Finding(suspicion.name, suspicion.severity, seen, suspicion.advice)


def _lost(session: Session) -> Finding | None:
    """Runs that have lost their worker not long ago: it was dealt with, and somebody should know."""
    reason, worker = (func.jsonb_extract_path_text(Run.status_detail, key) for key in ("reason", "worker"))
    condition = and_(
        func.coalesce(Run.completed_at, Run.queued_at) > func.now() - RECENT,
        reason.in_([Reason.WORKER_LOST, Reason.TOO_MANY_ATTEMPTS]),
    )
    count, workers = session.execute(
        select(func.count(), func.array_agg(func.distinct(worker))).where(condition)
    ).one()
    if count == 0:
        return None
    names = sorted(filter(None, workers))
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    seen = f"Runs that lost their worker in the last {RECENT.seconds // 60} minutes: {count}, of {shown}."
    advice = "See why it went, in its log and the machine's: memory, a kill, a PostgreSQL out of reach."
    return Finding("Lost workers", Severity.WARNING, seen, advice)


def _overlooked_threads(session: Session) -> Finding | None:
    free = find_free_threads_waited_for(session, limit=NAMED)
    if not free:
        return None
    seen = f"Runs wait for threads that no run has: {', '.join(map(str, free))}."
    return Finding("Threads", Severity.WARNING, seen, RECONCILE)
