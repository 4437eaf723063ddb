"""Named reads of runs."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, Text, and_, case, cast, exists, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from shared.errors import RunNotFoundError
from shared.logs import note
from shared.models import Run
from shared.runs import shares
from shared.runs.lifecycle import ACTIVE, HELD, RunKind, RunStatus
from shared.sizes import without_large


def get_run(
    session: Session,
    run_id: uuid.UUID,
    *,
    organization_id: uuid.UUID,
    kind: RunKind = RunKind.ASSISTANT,
    lock: bool = False,
) -> Run:
    """Return a run of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        RunNotFoundError: there is none of that kind, or it is another organization's.
    """
    query = select(Run).where(Run.id == run_id, Run.organization_id == organization_id)
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    run = session.scalar(query)
    if run is None or run.kind is not kind:
        raise RunNotFoundError(run_id)
    note(run_id=str(run_id))
    return run


def active_of(
    session: Session,
    subject_id: uuid.UUID,
    *,
    organization_id: uuid.UUID,
    statuses: frozenset[RunStatus],
    limit: int,
) -> tuple[Sequence[uuid.UUID], int]:
    """Return the newest runs of one subject in some active statuses, and how many there are in all."""
    owned = and_(Run.organization_id == organization_id, Run.subject_id == subject_id)
    wanted = select(Run.id).where(owned, Run.status.in_(statuses & ACTIVE))
    total = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    return session.scalars(wanted.order_by(Run.created_at.desc(), Run.id).limit(limit)).all(), total


def called_by(session: Session, run_id: uuid.UUID, *, is_light: bool = False) -> Sequence[Run]:
    """Return the structure runs that a run has called as tools, in order.

    Args:
        is_light: leave large values unloaded.
    """
    query = (
        select(Run)
        .options(*without_large(Run, when=is_light))
        .where(Run.parent_run_id == run_id)
        .order_by(Run.created_at, Run.id)
    )
    return session.scalars(query).all()


def with_tools(
    session: Session, run_ids: Collection[uuid.UUID], *, organization_id: uuid.UUID
) -> Sequence[uuid.UUID]:
    """Those of the runs that are an organization's, and have structures to call as tools."""
    if not run_ids:
        return []
    query = select(Run.id).where(
        Run.id.in_(run_ids), Run.organization_id == organization_id, func.cardinality(Run.structure_ids) > 0
    )
    return session.scalars(query).all()


def active_among(session: Session, run_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the runs that are there and have not ended, of whatever organization."""
    return set(session.scalars(select(Run.id).where(Run.id.in_(run_ids), Run.status.in_(ACTIVE))))


OVERDUE_MARGIN: Final = timedelta(seconds=10)
"""What a worker has, beyond the grace of a cancel, to end an overdue run by itself."""

NO_DELAY: Final = timedelta(0)


def lease_lapsed(*, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run's worker has been silent for longer than its lease, by `since` at least."""
    return Run.lease_expires_at < func.now() - since


def is_lost(*, lease_ttl: timedelta, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run is held, and has been without a lease for `since` at least.

    A PostgreSQL that has just started kept every worker from renewing: none is lost until each has
    had the time of a lease.
    """
    database_was_up = func.pg_postmaster_start_time() < func.now() - lease_ttl - since
    return and_(Run.status.in_(HELD), lease_lapsed(since=since), database_was_up)


def stops_unconfirmed(*, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run is cancelled, and its worker silent before it said how the work stopped."""
    return and_(Run.is_stopping, lease_lapsed(since=since))


def is_expired(*, queue_ttl: timedelta, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run is QUEUED for longer than it may, which is `queue_ttl` if it does not say."""
    limit = func.coalesce(Run.queue_ttl, queue_ttl)
    return and_(Run.status == RunStatus.QUEUED, Run.created_at < func.now() - limit - since)


def is_overdue(
    *, max_duration: timedelta, margin: timedelta, since: timedelta = NO_DELAY
) -> ColumnElement[bool]:
    """Whether a run is RUNNING for longer than it may, which is `max_duration` if it does not say.

    Its worker has `margin` to end it by itself; an external one has no worker.
    """
    limit = func.coalesce(Run.max_duration, max_duration)
    own = case((Run.is_external, NO_DELAY), else_=margin)
    return and_(Run.status == RunStatus.RUNNING, Run.started_at < func.now() - limit - own - since)


def is_undelivered(
    *,
    after: timedelta,
    waiting: Collection[str] | None,
    share: int | None = None,
    since: timedelta = NO_DELAY,
) -> ColumnElement[bool]:
    """Whether a run is QUEUED, and its message should have reached a worker by now.

    One that waits for room in its tenant's share has no message yet, and one whose message still
    waits in the broker is merely behind others. Of any other the message is on its way or lost, and is sent
    again after `after`. Where nobody can tell, since too much waits, it is sent again after `after`, then
    after twice as long, and so on up to 64 times: a backlog grows by a logarithm.

    Args:
        waiting: the ids of the tasks whose messages wait in the broker; None if it cannot be told.
        share: of the workers, in runs, that one organization may have.
    """
    doublings = func.least(Run.dispatch_count, 6) if waiting is None else 0
    pause = func.make_interval(0, 0, 0, 0, 0, 0, after.total_seconds() * func.power(2, doublings))
    undelivered = or_(
        and_(Run.dispatched_at.is_(None), Run.queued_at <= func.now() - since),
        Run.dispatched_at < func.now() - pause - since,
    )
    is_gone = _next_task_id().not_in(select(_each(waiting))) if waiting else true()
    is_sent = ~shares.is_held_back(share)
    return and_(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, is_sent, undelivered, is_gone)


def is_any_late(session: Session, *, after: timedelta, share: int | None = None) -> bool:
    """Whether a run waits for a worker for longer than `after`, be its message where it may."""
    late = is_undelivered(after=after, waiting=frozenset(), share=share)
    return bool(session.scalar(select(exists().where(late))))


def _next_task_id() -> ColumnElement[str]:
    """The id of the task that a QUEUED run waits for (`shared.dispatch.task_id_of`)."""
    return func.concat(cast(Run.id, Text), ".", Run.attempt + 1, type_=Text())


def _each(texts: Collection[str]) -> ColumnElement[str]:
    return func.unnest(literal(list(texts), ARRAY(Text())), type_=Text()).column_valued("waiting")


def count_waiting(
    session: Session, queue_of: Mapping[RunKind, str], *, share: int | None = None
) -> Mapping[str, int]:
    """Count the runs that wait for a worker, by queue.

    Those that wait for their thread, or for room in their tenant's share, want none yet.
    """
    is_structure = Run.structure_id.isnot(None)
    query = (
        select(is_structure, func.count())
        .where(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, ~shares.is_held_back(share))
        .group_by(is_structure)
    )
    counts = Counter(dict.fromkeys(queue_of.values(), 0))
    for of_structures, runs in session.execute(query):
        counts[queue_of[RunKind.STRUCTURE if of_structures else RunKind.ASSISTANT]] += runs
    return counts


def lock_lost(session: Session, *, lease_ttl: timedelta, limit: int) -> Sequence[Run]:
    """Lock lost runs; those another reconciler has locked are skipped."""
    return _locked(session, is_lost(lease_ttl=lease_ttl), limit)


def lock_unconfirmed_stops(session: Session, *, limit: int) -> Sequence[Run]:
    """Lock cancelled runs whose worker went silent before it said how the work stopped."""
    return _locked(session, stops_unconfirmed(), limit)


def lock_expired(session: Session, *, queue_ttl: timedelta, limit: int) -> Sequence[Run]:
    """Lock runs QUEUED for longer than they may; at any attempt."""
    return _locked(session, is_expired(queue_ttl=queue_ttl), limit)


def lock_overdue(
    session: Session, *, max_duration: timedelta, margin: timedelta, limit: int
) -> Sequence[Run]:
    """Lock runs RUNNING for longer than they may; those of workers by `margin`."""
    return _locked(session, is_overdue(max_duration=max_duration, margin=margin), limit)


def lock_undelivered(
    session: Session,
    *,
    after: timedelta,
    waiting: Collection[str] | None,
    share: int | None = None,
    limit: int,
) -> Sequence[Run]:
    """Lock QUEUED runs whose message should have reached a worker by now."""
    return _locked(session, is_undelivered(after=after, waiting=waiting, share=share), limit)


def _locked(session: Session, condition: ColumnElement[bool], limit: int) -> Sequence[Run]:
    query = select(Run).where(condition).order_by(Run.created_at).limit(limit)
    return session.scalars(query.with_for_update(skip_locked=True)).all()
