"""The purge: deletes what a policy no longer keeps, in batches that are transactions of their own.

A batch locks only what it deletes, skips what somebody else has locked, and waits for no lock for longer
than `LOCK_TIMEOUT`. It takes no active run, no cancelled one whose stop is not confirmed, no run whose
parent is kept, and no thread that a run is on.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Self

import structlog
from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    and_,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared.db import Fault, Sessions, fault_of, unit_of_work, words_of
from shared.models import (
    Assistant,
    Deployment,
    Message,
    Organization,
    Run,
    RunTally,
    Structure,
    Thread,
)
from shared.retention.policy import Policy, concerns

log = structlog.get_logger(__name__)

RUNS: Final = 200
"""Runs that one batch deletes at the most."""

ROWS: Final = 5_000
"""Events and lines of output that one batch deletes at the most; a larger run is a batch alone."""

THREADS: Final = 20
"""Threads that one batch deletes at the most; each goes with all its messages."""

LOCK_TIMEOUT: Final = "500ms"

DAYS_AHEAD: Final = 7
"""Days for which there is a partition before they begin: for so long, no reconciler need run."""

ONE_DAY: Final = timedelta(days=1)

_DAY: Final = re.compile(r"run_events_(\d{8})")
_SILENT: Final = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Purged:
    """How much is deleted, or is to be."""

    runs: int = 0
    events: int = 0
    log_lines: int = 0
    bytes: int = 0  # of runs, events and spans, as quotas count them
    threads: int = 0
    messages: int = 0
    assistants: int = 0  # that their owners had deleted
    structures: int = 0  # likewise
    deployments: int = 0  # that others have replaced
    days: int = 0  # whose events were dropped at once

    def __add__(self, other: Self) -> Self:
        return type(self)(
            *(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        )

    @property
    def things(self) -> int:
        """What batches are counted by: everything that is deleted for itself."""
        return self.runs + self.threads + self.assistants + self.structures + self.deployments + self.days

    def counts(self) -> dict[str, int]:
        """By name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


Step = Callable[[Session, Policy], Purged]

Subject = InstrumentedAttribute[Any]


def count(session: Session, policy: Policy) -> Purged:
    """Count what a policy no longer keeps, without deleting anything."""
    runs = Purged()
    for subject in SUBJECTS:
        found = _due_runs(policy, subject).lateral("found")
        query = (
            select(func.count(), *(func.coalesce(func.sum(found.c[name]), 0) for name in _RUN_COUNTS))
            .select_from(Organization)
            .join(found, true())
            .where(concerns(policy, policy.runs_before))
        )
        runs += Purged(*map(int, session.execute(query).one()))
    threads = _due_threads(policy).cte("due")
    of_them = select(func.count()).select_from(Message).join(threads, threads.c.id == Message.thread_id)
    return runs + Purged(
        threads=_number(session, select(func.count()).select_from(threads)),
        messages=_number(session, of_them),
        assistants=_number(session, _counted(_due_subjects(policy, Assistant))),
        structures=_number(session, _counted(_due_subjects(policy, Structure))),
        deployments=_number(session, _counted(_due_deployments(policy))),
        days=len(whole_days(session, policy)),
    )


def _number(session: Session, query: Select[int]) -> int:
    return session.scalar(query) or 0


def _counted(query: Select[Any]) -> Select[int]:
    return select(func.count()).select_from(query.subquery())


SUBJECTS: Final[Sequence[Subject]] = (Run.assistant_id, Run.structure_id)
"""Each has an index of its own, in which an organization's runs are in order of time."""

_RUN_COUNTS: Final = ("events", "log_lines", "bytes")


def is_due(policy: Policy) -> ColumnElement[bool]:
    """Whether a run has ended for long enough, and no run that called it is kept, as SQL."""
    before, parent = policy.runs_before, aliased(Run)
    is_waited_for = (
        exists()
        .where(
            parent.id == Run.parent_run_id,
            or_(parent.completed_at.is_(None), parent.completed_at >= before, parent.is_stopping),
        )
        .correlate(Run, Organization)
    )
    return and_(Run.completed_at < before, ~Run.is_stopping, ~is_waited_for)


def _due_runs(policy: Policy, subject: Subject) -> Select[*tuple[Any, ...]]:
    """The runs of an organization that are kept no longer, of one kind, oldest first."""
    return (
        select(
            Run.id,
            Run.event_count.label("events"),
            Run.log_count.label("log_lines"),
            Run.stored_bytes.label("bytes"),
        )
        .where(
            Run.organization_id == Organization.id,
            subject.is_not(None),
            Run.created_at < policy.runs_before,  # for the index
            is_due(policy),
        )
        .order_by(Run.created_at)
        .correlate(Organization)
    )


def purge_assistant_runs(session: Session, policy: Policy) -> Purged:
    """Delete a batch of runs of assistants, with all that is stored of them."""
    return _purge_runs(session, policy, Run.assistant_id)


def purge_structure_runs(session: Session, policy: Policy) -> Purged:
    """Delete a batch of runs of structures, with all that is stored of them."""
    return _purge_runs(session, policy, Run.structure_id)


def _purge_runs(session: Session, policy: Policy, subject: Subject) -> Purged:
    found = _due_runs(policy, subject).limit(RUNS).with_for_update(skip_locked=True, of=Run).lateral("found")
    due = (
        select(found.c.id, (found.c.events + found.c.log_lines).label("rows"))
        .select_from(Organization)
        .join(found, true())
        .where(concerns(policy, policy.runs_before))
        .limit(RUNS)
        .cte("due")
    )
    reached = func.sum(due.c.rows).over(order_by=due.c.id, rows=(None, 0)) - due.c.rows
    numbered = select(due.c.id, reached.label("before")).subquery()
    batch = select(numbered.c.id).where(numbered.c.before < ROWS)
    gone = session.execute(
        delete(Run).where(Run.id.in_(batch)).returning(Run.event_count, Run.log_count, Run.stored_bytes),
        execution_options=_SILENT,
    ).all()
    return Purged(len(gone), *map(sum, zip(*gone, strict=True))) if gone else Purged()


def idle_since(before: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether nothing has happened in a thread since an instant, and no run is on it."""
    newest = (
        select(Message.updated_at)
        .where(Message.thread_id == Thread.id)
        .order_by(Message.index.desc())
        .limit(1)
        .scalar_subquery()
    )
    is_on_it = or_(Run.completed_at.is_(None), Run.completed_at >= before, Run.is_stopping)
    return and_(
        Thread.created_at < before,
        Thread.updated_at < before,
        func.coalesce(newest, Thread.updated_at) < before,  # few threads need the look at all messages
        ~exists().where(Message.thread_id == Thread.id, Message.updated_at >= before),
        ~exists().where(Run.thread_id == Thread.id, is_on_it),
    )


def _due_threads(policy: Policy) -> Select[Any]:
    before = policy.threads_before
    return (
        select(Thread.id)
        .join(Organization, Organization.id == Thread.organization_id)
        .where(concerns(policy, before), idle_since(before))
    )


def purge_threads(session: Session, policy: Policy) -> Purged:
    """Delete a batch of idle threads with their messages; their runs stay."""
    query = _due_threads(policy).limit(THREADS).with_for_update(skip_locked=True, of=Thread)
    locked = session.scalars(query).all()
    if not locked:
        return Purged()
    # A run or a message may have come between the look and the lock; now nobody adds one.
    still = (
        select(Thread.id)
        .join(Organization, Organization.id == Thread.organization_id)
        .where(Thread.id.in_(locked), idle_since(policy.threads_before))
    )
    due = session.scalars(still).all()
    messages = session.scalar(select(func.count()).select_from(Message).where(Message.thread_id.in_(due)))
    session.execute(delete(Thread).where(Thread.id.in_(due)), execution_options=_SILENT)
    return Purged(threads=len(due), messages=messages or 0)


def _due_subjects(policy: Policy, model: type[Assistant | Structure]) -> Select[Any]:
    """The assistants or structures that their owners have deleted, and no run refers to any more."""
    before = policy.runs_before
    has_runs = exists().where(Run.organization_id == model.organization_id, Run.subject_id == model.id)
    return (
        select(model.id)
        .join(Organization, Organization.id == model.organization_id)
        .where(concerns(policy, before), model.deleted_at < before, ~has_runs)
    )


def _purge_subjects(session: Session, policy: Policy, model: type[Assistant | Structure]) -> int:
    query = _due_subjects(policy, model).limit(RUNS).with_for_update(skip_locked=True, of=model)
    due = session.scalars(query).all()
    if due:
        session.execute(delete(RunTally).where(RunTally.subject_id.in_(due)), execution_options=_SILENT)
        session.execute(delete(model).where(model.id.in_(due)), execution_options=_SILENT)
    return len(due)


def purge_assistants(session: Session, policy: Policy) -> Purged:
    """Delete a batch of the assistants that their owners have deleted, once they have no runs."""
    return Purged(assistants=_purge_subjects(session, policy, Assistant))


def purge_structures(session: Session, policy: Policy) -> Purged:
    """Delete a batch of the structures that their owners have deleted, once they have no runs."""
    return Purged(structures=_purge_subjects(session, policy, Structure))


def _due_deployments(policy: Policy) -> Select[Any]:
    """Deployments that have been replaced for long enough, so that no run that is kept has used them."""
    before, newer = policy.runs_before, aliased(Deployment)
    is_replaced = exists().where(
        newer.organization_id == Deployment.organization_id,
        newer.structure_id == Deployment.structure_id,
        newer.created_at > Deployment.created_at,
        newer.created_at < before,
    )
    may_be_used = exists().where(
        Run.organization_id == Deployment.organization_id,
        Run.subject_id == Deployment.structure_id,
        Run.created_at < before,
    )
    is_latest = exists().where(Structure.latest_deployment_id == Deployment.id)
    return (
        select(Deployment.id)
        .join(Organization, Organization.id == Deployment.organization_id)
        .where(
            concerns(policy, before), Deployment.created_at < before, is_replaced, ~may_be_used, ~is_latest
        )
    )


def purge_deployments(session: Session, policy: Policy) -> Purged:
    """Delete a batch of deployments that others have replaced."""
    query = _due_deployments(policy).limit(RUNS).with_for_update(skip_locked=True, of=Deployment)
    due = session.scalars(query).all()
    if due:
        session.execute(delete(Deployment).where(Deployment.id.in_(due)), execution_options=_SILENT)
    return Purged(deployments=len(due))


OF_RUNS: Final[Mapping[str, Step]] = {
    "assistant runs": purge_assistant_runs,
    "structure runs": purge_structure_runs,
}
AFTER_RUNS: Final[Mapping[str, Step]] = {
    "threads": purge_threads,
    "assistants": purge_assistants,
    "structures": purge_structures,
    "deployments": purge_deployments,
}
"""What is purged, in order: what nothing refers to any more comes after what referred to it."""


def purge(sessions: Sessions, policy: Policy) -> Generator[tuple[str, Purged]]:
    """Delete what a policy no longer keeps, batch after batch, until nothing is left.

    The caller may pause between two batches, or stop. What somebody holds keeps no other kind of things.

    Yields:
        After each batch: what it was of, and what was deleted.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away; or, once the rest is done, a lock was not to be
            had in time.
    """
    refusals: list[OperationalError] = []
    with _batch(sessions) as session:
        days = whole_days(session, policy)
    yield from _batches(sessions, OF_RUNS, policy, refusals, days)
    for day in days:
        if _drop(sessions, day):
            yield "days", Purged(days=1)
    yield from _batches(sessions, AFTER_RUNS, policy, refusals)
    if refusals:
        raise refusals[0]


def _drop(sessions: Sessions, day: date) -> bool:
    """Drop the partition of a day whose runs are gone; if somebody uses it, leave it to the next pass."""
    try:
        with _batch(sessions) as session:
            return bool(session.scalar(select(func.drop_day_of_run_events(day))))
    except OperationalError as error:
        if fault_of(error) is not Fault.CONTENTION:
            raise
        log.info("day not dropped yet", day=str(day), error=words_of(error))
        return False


def _batches(
    sessions: Sessions,
    steps: Mapping[str, Step],
    policy: Policy,
    refusals: list[OperationalError],
    days: Sequence[date] = (),
) -> Generator[tuple[str, Purged]]:
    """Do the batches of each step; a step in which a lock is not to be had ends, and tells `refusals`."""
    for name, step in steps.items():
        try:
            yield from _batches_of(sessions, name, step, policy, days)
        except OperationalError as error:
            if fault_of(error) is not Fault.CONTENTION:
                raise
            log.info("not all purged yet", what=name, error=words_of(error))
            refusals.append(error)


def _batches_of(
    sessions: Sessions, name: str, step: Step, policy: Policy, days: Sequence[date]
) -> Generator[tuple[str, Purged]]:
    whole = ",".join(map(str, days))
    while True:
        with _batch(sessions) as session:
            if whole:  # a trigger reads it
                session.execute(select(func.set_config("runyard.whole_days", whole, True)))
            done = step(session, policy)
        if not done.things:
            return
        yield name, done


@contextmanager
def _batch(sessions: Sessions) -> Generator[Session]:
    """A transaction that waits for no lock for long."""
    with unit_of_work(sessions) as session:
        session.execute(select(func.set_config("lock_timeout", LOCK_TIMEOUT, True)))
        yield session


def make_days(sessions: Sessions) -> int:
    """Make the partitions of the events of the next `DAYS_AHEAD` days; return how many were missing.

    While somebody uses what is to be divided, they are left to the next pass.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away.
    """
    try:
        with _batch(sessions) as session:
            return int(session.scalar(select(func.make_days_of_run_events(DAYS_AHEAD))) or 0)
    except OperationalError as error:
        if fault_of(error) is not Fault.CONTENTION:
            raise
        log.warning("days not made yet", error=words_of(error))
        return 0


def whole_days(session: Session, policy: Policy) -> Sequence[date]:
    """The days whose runs are all kept no longer: the partitions of their events can be dropped.

    The runs go first. From then on nobody sees the events, which are spared the deletion one by one.
    """
    if policy.organization_id is not None:
        return []
    names = session.scalars(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
            " WHERE inhparent = 'run_events'::regclass"
        )
    )
    days = sorted(date.fromisoformat(found[1]) for found in map(_DAY.fullmatch, names) if found)
    end = session.scalars(select(func.timezone("UTC", func.now()).cast(Date))).one() - 2 * ONE_DAY
    return [day for day in days if day < end and not _is_any_kept(session, policy, day)]


def _is_any_kept(session: Session, policy: Policy, day: date) -> bool:
    start = datetime.combine(day, time(), UTC)
    for subject in SUBJECTS:
        kept = (
            select(Run.id)
            .where(
                Run.organization_id == Organization.id,
                subject.is_not(None),
                Run.created_at >= start,
                Run.created_at < start + ONE_DAY,
                ~func.coalesce(is_due(policy), false()),
            )
            .limit(1)
            .correlate(Organization)
            .lateral("kept")
        )
        if session.scalar(select(kept.c.id).select_from(Organization).join(kept, true()).limit(1)):
            return True
    return False
