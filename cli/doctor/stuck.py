"""Findings about stuck runs.

A state that the reconciler repairs is a problem only after several of its rounds.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, func, not_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from cli.doctor.findings import Finding, Severity
from shared.dispatch import shares
from shared.lifecycle import ACTIVE, Reason, RunStatus
from shared.models import Run
from shared.runs import queries
from shared.settings import Settings
from shared.threads.turns import find_free_threads_waited_for

ROUNDS: Final = 3
"""Rounds of the reconciler until a state that it repairs is reported."""

LONG_WAIT: Final = timedelta(minutes=1)
"""A wait for a worker that is reported."""

RECENT: Final = timedelta(minutes=15)
"""How long a recovered loss is reported."""

MAX_NAMED: Final = 3
"""Runs or threads in a finding."""

RECONCILE: Final = (
    'If there is the finding "Locks", begin with it. Else check that `runyard reconciler` runs and reaches'
    " PostgreSQL, and see its log."
)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A way in which runs can be stuck."""

    name: str
    severity: Severity
    condition: ColumnElement[bool]
    what: str
    advice: str


def repair_time(settings: Settings) -> timedelta:
    """How long a repair by the reconciler may take; after an outage, it first waits for one lease."""
    return settings.lease_ttl + ROUNDS * settings.reconcile_interval


def examine_runs(session: Session, settings: Settings, *, waiting: frozenset[str] | None) -> list[Finding]:
    """Count the unfinished runs and find the stuck ones.

    Args:
        waiting: the ids of the tasks whose messages wait in the broker; None if unknown.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL failed.
    """
    counted = (
        select(Run.status, func.count().label("runs")).where(Run.status.in_(ACTIVE)).group_by(Run.status)
    )
    counts = {row.status: row.runs for row in session.execute(counted)}
    said = ", ".join(f"{counts.get(status, 0)} {status}" for status in RunStatus if status in ACTIVE)
    findings = [Finding("Runs", Severity.OK, f"{said}.")]

    by_queue = queries.count_waiting(session, settings.queue_of, share=settings.running_share)
    said = ", ".join(f"{count} of {queue!r}" for queue, count in by_queue.items())
    demand = f"Runs that wait for a worker: {said}."  # the number to scale workers by
    findings.append(Finding("Demand", Severity.OK, demand))

    for suspicion in (*_of_dispatch(settings, waiting), *_of_workers(settings), *_of_limits(settings)):
        oldest = func.array_agg(aggregate_order_by(Run.id, Run.created_at))[1:MAX_NAMED]
        count, named = session.execute(select(func.count(), oldest).where(suspicion.condition)).one()
        if count:
            seen = f"{suspicion.what}: {count}, the oldest {', '.join(map(str, named))}."
            findings.append(Finding(suspicion.name, suspicion.severity, seen, suspicion.advice))

    if free := find_free_threads_waited_for(session, limit=MAX_NAMED):
        seen = f"Runs wait for threads that no run occupies: {', '.join(map(str, free))}."
        findings.append(Finding("Threads", Severity.WARNING, seen, RECONCILE))

    lost = _lost(session)
    return [*findings, lost] if lost else findings


def _of_dispatch(settings: Settings, waiting: frozenset[str] | None) -> list[Suspicion]:
    undelivered = queries.is_undelivered(
        after=settings.republish_after,
        waiting=waiting,
        share=settings.running_share,
        since=repair_time(settings),
    )
    held_back = shares.is_held_back(settings.running_share)
    long = and_(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, Run.queued_at < func.now() - LONG_WAIT)
    return [
        Suspicion("Undispatched", Severity.PROBLEM, undelivered, "QUEUED and not sent again", RECONCILE),
        Suspicion(
            "Waiting",
            Severity.WARNING,
            and_(long, ~held_back),
            f"QUEUED for over {LONG_WAIT.total_seconds():g} s, taken by no worker",
            "Add workers, or raise their RUNYARD_CONCURRENCY.",
        ),
        Suspicion(
            "Held back",
            Severity.WARNING,
            and_(long, held_back),
            f"QUEUED for over {LONG_WAIT.total_seconds():g} s: their tenants have their share of workers",
            "They start as other runs of the tenant end. RUNYARD_RUNNING_SHARE sets how many run at once.",
        ),
    ]


def _of_workers(settings: Settings) -> list[Suspicion]:
    late = repair_time(settings)
    still_stops = and_(
        Run.is_stopping,
        not_(queries.lease_lapsed()),
        Run.completed_at < func.now() - 2 * settings.cancel_grace,
    )
    return [
        Suspicion(
            "Lost",
            Severity.PROBLEM,
            queries.is_lost(lease_ttl=settings.lease_ttl, since=late),
            "held under a lapsed lease, not taken over",
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
            still_stops,
            "CANCELLED, but still working after the grace",
            "See the log of the worker. The run's row names it.",
        ),
    ]


def _of_limits(settings: Settings) -> list[Suspicion]:
    late = repair_time(settings)
    expired = queries.is_expired(queue_ttl=settings.queue_ttl, since=late)
    overdue = queries.is_overdue(
        max_duration=settings.max_duration,
        cancel_grace=settings.cancel_grace,
        since=late,
    )
    return [
        Suspicion("Expired", Severity.PROBLEM, expired, "QUEUED for longer than allowed", RECONCILE),
        Suspicion("Overdue", Severity.PROBLEM, overdue, "RUNNING for longer than allowed", RECONCILE),
    ]


def _lost(session: Session) -> Finding | None:
    """Runs that lost their worker recently. They are recovered; an operator should know."""
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
    shown = ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")
    seen = f"Runs that lost their worker in the last {RECENT.seconds // 60} minutes: {count}, of {shown}."
    advice = "Find the cause in its log and the machine's: memory, a kill, an unreachable PostgreSQL."
    return Finding("Lost workers", Severity.WARNING, seen, advice)
