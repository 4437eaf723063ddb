"""Named reads of runs."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.dispatch import shares
from shared.errors import RunNotFoundError
from shared.lifecycle import ACTIVE, HELD, TERMINAL, RunKind, RunStatus
from shared.logs import note
from shared.models import Run
from shared.rows.paging import Position
from shared.rows.sizes import without_large


def get_run(
    session: Session,
    run_id: uuid.UUID,
    *,
    organization_id: uuid.UUID,
    kind: RunKind = RunKind.ASSISTANT,
    lock: Lock | None = None,
) -> Run:
    """Return a run of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        RunNotFoundError: there is none of that kind, or it is another organization's.
    """
    query = select(Run).where(Run.id == run_id, Run.organization_id == organization_id)
    run = session.scalar(locked(query, lock, Run))
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


def called_by(
    session: Session, run_id: uuid.UUID, *, is_light: bool = False, lock: Lock | None = None
) -> Sequence[Run]:
    """Return the structure runs that a run has called as tools, in order.

    Args:
        is_light: leave large values unloaded.
        lock: hold their rows until the transaction ends.
    """
    query = (
        select(Run)
        .options(*without_large(Run, when=is_light))
        .where(Run.parent_run_id == run_id)
        .order_by(Run.created_at, Run.id)
    )
    return session.scalars(locked(query, lock, Run)).all()


def with_tools(
    session: Session, run_ids: Collection[uuid.UUID], *, organization_id: uuid.UUID
) -> Sequence[uuid.UUID]:
    """Return those of an organization's runs that have structures to call as tools."""
    if not run_ids:
        return []
    query = select(Run.id).where(
        Run.id.in_(run_ids), Run.organization_id == organization_id, func.cardinality(Run.structure_ids) > 0
    )
    return session.scalars(query).all()


class LogState(NamedTuple):
    """How far the log of a run is."""

    stored: int  # events
    has_ended: bool  # whether no more will follow


_LOG_STATE: Final = select(Run.event_count, Run.status).where(
    Run.id == bindparam("run_id"),
    Run.organization_id == bindparam("organization_id"),
    Run.structure_id.isnot(None) == bindparam("is_structure"),
)


def log_state(session: Session, run_id: uuid.UUID, *, organization_id: uuid.UUID, kind: RunKind) -> LogState:
    """Return how far the log of a run of an organization is.

    Raises:
        RunNotFoundError: there is none of that kind, or it is another organization's.
    """
    wanted = {
        "run_id": run_id,
        "organization_id": organization_id,
        "is_structure": kind is RunKind.STRUCTURE,
    }
    row = session.connection().execute(_LOG_STATE, wanted).one_or_none()
    if row is None:
        raise RunNotFoundError(run_id)
    stored, status = row
    return LogState(stored, status in TERMINAL)


_LOG_STATES: Final = select(Run.id, Run.event_count, Run.status).where(
    Run.id == any_(bindparam("run_ids", type_=ARRAY(Uuid)))
)


def log_states(session: Session, run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, LogState]:
    """Return how far the logs of some runs are, of whatever organization; a deleted run is left out."""
    rows = session.connection().execute(_LOG_STATES, {"run_ids": list(run_ids)})
    return {run_id: LogState(stored, status in TERMINAL) for run_id, stored, status in rows}


OVERDUE_MARGIN: Final = timedelta(seconds=10)
"""The time that a worker has, beyond the grace of a cancel, to end an overdue run itself."""

NO_DELAY: Final = timedelta(0)


def lease_lapsed(*, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run's lease has lapsed, at least `since` ago."""
    return Run.lease_expires_at < func.now() - since


def is_lost(*, lease_ttl: timedelta, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run is held, and has been without a lease for `since` at least.

    A PostgreSQL that has just started kept every worker from renewing: none is lost until each has
    had the time of a lease. An external run has no worker to lose.
    """
    database_was_up = func.pg_postmaster_start_time() < func.now() - lease_ttl - since
    return and_(Run.status.in_(HELD), ~Run.is_external, lease_lapsed(since=since), database_was_up)


def stops_unconfirmed(*, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run is cancelled, and its lease lapsed before its worker reported how the work stopped."""
    return and_(Run.is_stopping, lease_lapsed(since=since))


def is_expired(*, queue_ttl: timedelta, since: timedelta = NO_DELAY) -> ColumnElement[bool]:
    """Whether a run is QUEUED for longer than its limit; `queue_ttl` is the default."""
    limit = func.coalesce(Run.queue_ttl, queue_ttl)
    return and_(Run.status == RunStatus.QUEUED, Run.created_at < func.now() - limit - since)


def is_overdue(
    *, max_duration: timedelta, cancel_grace: timedelta, since: timedelta = NO_DELAY
) -> ColumnElement[bool]:
    """Whether a run is RUNNING for longer than its limit; `max_duration` is the default.

    Its worker has `cancel_grace` and OVERDUE_MARGIN to end it by itself; an external one has no worker.
    """
    limit = func.coalesce(Run.max_duration, max_duration)
    own = case((Run.is_external, NO_DELAY), else_=cancel_grace + OVERDUE_MARGIN)
    return and_(Run.status == RunStatus.RUNNING, Run.started_at < func.now() - limit - own - since)


def is_undelivered(
    *,
    after: timedelta,
    waiting: Collection[str] | None,
    share: int | None = None,
    since: timedelta = NO_DELAY,
) -> ColumnElement[bool]:
    """Whether a run is QUEUED, and its message should have reached a worker by now.

    A run that waits for room in its tenant's share has no message yet; a message that waits in the broker
    is not lost. Any other message is on its way or lost, and is sent again after `after`. If the broker has
    too many messages to read, it is sent again after `after`, then after twice as long, and so on up to 64
    times `after`: a backlog grows by a logarithm.

    Args:
        waiting: the ids of the tasks whose messages wait in the broker; None if there are too many.
        share: runs that one tenant may have under way; None: no limit.
    """
    doublings = func.least(Run.dispatch_count, 6) if waiting is None else 0
    pause = func.make_interval(0, 0, 0, 0, 0, 0, after.total_seconds() * func.power(2, doublings))
    undelivered = or_(
        and_(Run.dispatched_at.is_(None), Run.queued_at <= func.now() - since),
        Run.dispatched_at < func.now() - pause - since,
    )
    is_gone: ColumnElement[bool] = true()
    if waiting:
        # As `shared.dispatch.dispatcher.task_id_of`: the task that a QUEUED run waits for.
        next_task_id = func.concat(cast(Run.id, Text), ".", Run.attempt + 1, type_=Text())
        each = func.unnest(literal(list(waiting), ARRAY(Text())), type_=Text()).column_valued("waiting")
        is_gone = next_task_id.not_in(select(each))
    is_due = ~shares.is_held_back(share)
    return and_(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, is_due, undelivered, is_gone)


def is_any_late(session: Session, *, after: timedelta, share: int | None = None) -> bool:
    """Whether a run waits for a worker for longer than `after`, wherever its message is."""
    late = is_undelivered(after=after, waiting=frozenset(), share=share)
    return bool(session.scalar(select(exists().where(late))))


class Waiting(NamedTuple):
    """The runs of a queue that wait for a worker."""

    runs: int = 0
    oldest: float = 0.0  # seconds for which the first of them has waited for a worker; 0 if there is none


def waiting(
    session: Session, queue_of: Mapping[RunKind, str], *, share: int | None = None
) -> Mapping[str, Waiting]:
    """Return how many runs wait for a worker, and for how long, by queue.

    Runs that wait for their thread, or for room in their tenant's share, do not count, nor does the time for
    which others did so: they want a worker since they were sent. `dispatched_at` tells it until a message is
    sent again.
    """
    is_structure = Run.structure_id.isnot(None)
    sent_at = case((Run.dispatch_count == 0, Run.dispatched_at))
    age = func.extract("epoch", func.now() - func.min(func.greatest(Run.queued_at, sent_at)))
    query = (
        select(is_structure, func.count(), age)
        .where(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, ~shares.is_held_back(share))
        .group_by(is_structure)
    )
    found = dict.fromkeys(queue_of.values(), Waiting())
    for of_structures, runs, seconds in session.execute(query):
        queue = queue_of[RunKind.STRUCTURE if of_structures else RunKind.ASSISTANT]
        found[queue] = Waiting(found[queue].runs + runs, max(found[queue].oldest, float(seconds)))
    return found


def count_waiting(
    session: Session, queue_of: Mapping[RunKind, str], *, share: int | None = None
) -> Mapping[str, int]:
    """Count the runs that wait for a worker, by queue; see `waiting`."""
    return {queue: one.runs for queue, one in waiting(session, queue_of, share=share).items()}


def position_of(run: Run) -> Position:
    """Where a run is among those that a function below locks, `limit` of them `after` a position."""
    return Position(run.created_at, run.id)


def lock_lost(
    session: Session, *, lease_ttl: timedelta, limit: int, after: Position | None = None
) -> Sequence[Run]:
    """Lock lost runs; those another reconciler has locked are skipped."""
    return _locked(session, is_lost(lease_ttl=lease_ttl), limit, after)


def lock_unconfirmed_stops(session: Session, *, limit: int, after: Position | None = None) -> Sequence[Run]:
    """Lock cancelled runs whose lease lapsed before their worker reported how the work stopped."""
    return _locked(session, stops_unconfirmed(), limit, after)


def lock_expired(
    session: Session, *, queue_ttl: timedelta, limit: int, after: Position | None = None
) -> Sequence[Run]:
    """Lock runs QUEUED for longer than their limit, at any attempt."""
    return _locked(session, is_expired(queue_ttl=queue_ttl), limit, after)


def lock_overdue(
    session: Session,
    *,
    max_duration: timedelta,
    cancel_grace: timedelta,
    limit: int,
    after: Position | None = None,
) -> Sequence[Run]:
    """Lock runs that are overdue (`is_overdue`)."""
    return _locked(session, is_overdue(max_duration=max_duration, cancel_grace=cancel_grace), limit, after)


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


def _locked(
    session: Session, condition: ColumnElement[bool], limit: int, after: Position | None = None
) -> Sequence[Run]:
    query = select(Run).where(condition).order_by(Run.created_at, Run.id).limit(limit)
    if after is not None:
        query = query.where(tuple_(Run.created_at, Run.id) > after)
    return session.scalars(query.with_for_update(skip_locked=True)).all()
