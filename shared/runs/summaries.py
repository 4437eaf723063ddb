"""Reads for people who watch runs: rows without their content, and numbers of one organization's runs."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Numeric,
    Select,
    and_,
    case,
    cast,
    extract,
    func,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import Session

from shared.events.log import is_of
from shared.lifecycle import HELD, RunKind, RunStatus
from shared.models import Assistant, Run, RunEvent, Structure

LONGEST_MESSAGE: Final = 500  # characters of a message that are read
WINDOW: Final = timedelta(hours=1)
MOST_RECENT: Final = 5000
"""Runs of each kind that the rates of an organization are made from, so that a busy hour costs no more."""

LARGEST_NUMBER: Final = 1_000_000_000_000
FAILURES: Final = frozenset({RunStatus.FAILED, RunStatus.ERROR})


class RunSummary(NamedTuple):
    """A run without its content."""

    id: uuid.UUID
    assistant_id: uuid.UUID | None
    structure_id: uuid.UUID | None
    subject: str  # the present name of the assistant or the structure
    thread_id: uuid.UUID | None
    status: RunStatus
    reason: str | None
    message: str | None
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    worker: str | None
    tokens: int | None
    cost: float | None
    is_stopping: bool

    @property
    def kind(self) -> RunKind:
        return RunKind.ASSISTANT if self.structure_id is None else RunKind.STRUCTURE


def summaries(
    session: Session, run_ids: Sequence[uuid.UUID], *, organization_id: uuid.UUID
) -> list[RunSummary]:
    """Return runs of an organization in the order of their ids; those that are gone are left out."""
    query = (
        select(
            Run.id,
            Run.assistant_id,
            Run.structure_id,
            func.coalesce(Assistant.name, Structure.name),
            Run.thread_id,
            Run.status,
            Run.status_detail["reason"].astext,
            func.left(Run.status_detail["message"].astext, LONGEST_MESSAGE),
            Run.created_at,
            Run.queued_at,
            Run.started_at,
            Run.completed_at,
            Run.attempt,
            Run.worker,
            cast(_number(Run.usage["total_tokens"]), BigInteger),
            _number(Run.usage["cost"]),
            Run.is_stopping,
        )
        .outerjoin(Assistant, Assistant.id == Run.assistant_id)
        .outerjoin(Structure, Structure.id == Run.structure_id)
        .where(Run.id.in_(run_ids), Run.organization_id == organization_id)
    )
    found = {row[0]: RunSummary(*row) for row in session.execute(query)}
    return [found[run_id] for run_id in run_ids if run_id in found]


def _number(value: Any) -> ColumnElement[Any]:
    """A count that somebody reported in JSON, within bounds; null if it is no number."""
    bounded = func.least(func.greatest(cast(value, Numeric), 0), LARGEST_NUMBER)
    return case((func.jsonb_typeof(value) == "number", cast(bounded, Float)))


@dataclass(frozen=True, slots=True)
class Rates:
    """How an organization's runs go."""

    queued: int
    oldest_wait: float | None  # seconds
    held: int  # by workers
    created: Sequence[int]  # of each of the last 60 minutes, the oldest first
    failed: Sequence[int]  # of those
    is_partial: bool  # whether there were more runs than were looked at


def rates(session: Session, organization_id: uuid.UUID) -> Rates:
    """Return the numbers of an organization's runs that wait, are held, and were created in the last hour."""
    own = Run.organization_id == organization_id
    queued, oldest = session.execute(
        select(func.count(), extract("epoch", func.now() - func.min(Run.queued_at))).where(
            own, Run.status == RunStatus.QUEUED
        )
    ).one()
    held = session.scalar(select(func.count()).where(own, Run.status.in_(HELD))) or 0
    recent = union_all(_recent(own, Run.assistant_id), _recent(own, Run.structure_id)).subquery()
    minute = func.least(func.floor(extract("epoch", func.now() - recent.c.created_at) / 60), 59)
    is_failure = recent.c.status.in_(FAILURES)
    rows = session.execute(
        select(minute, is_failure, func.count()).select_from(recent).group_by(text("1"), text("2"))
    ).all()
    created, failed = [0] * 60, [0] * 60
    for ago, has_failed, count in rows:
        place = 59 - max(0, int(ago))
        created[place] += count
        failed[place] += count * has_failed
    is_partial = sum(created) >= MOST_RECENT
    return Rates(queued, None if oldest is None else float(oldest), held, created, failed, is_partial)


def _recent(own: ColumnElement[bool], subject: Any) -> Select[datetime, RunStatus]:
    query = select(Run.created_at, Run.status).where(
        own, subject.is_not(None), Run.created_at > func.now() - WINDOW
    )
    return query.order_by(Run.created_at.desc()).limit(MOST_RECENT)


def held_by_worker(session: Session, organization_id: uuid.UUID) -> dict[str, int]:
    """Return how many of an organization's runs each worker holds."""
    query = (
        select(Run.worker, func.count())
        .where(Run.organization_id == organization_id, Run.status.in_(HELD), Run.worker.is_not(None))
        .group_by(Run.worker)
    )
    return {str(worker): count for worker, count in session.execute(query)}


def ahead_of(session: Session, run: Run) -> int:
    """Return how many runs of the organization wait for a worker since before a QUEUED run."""
    query = select(func.count()).where(
        Run.organization_id == run.organization_id,
        Run.status == RunStatus.QUEUED,
        ~Run.waits_for_thread,
        or_(Run.queued_at < run.queued_at, and_(Run.queued_at == run.queued_at, Run.id < run.id)),
    )
    return session.scalar(query) or 0


def before_on_thread(session: Session, run: Run) -> uuid.UUID | None:
    """Return the run that has the thread of a waiting run."""
    return session.scalar(
        select(Run.id).where(
            Run.thread_id == run.thread_id,
            Run.organization_id == run.organization_id,
            Run.status.in_([RunStatus.QUEUED, *HELD]),
            ~Run.waits_for_thread,
        )
    )


class Mark(NamedTuple):
    """An event without its payload."""

    seq: int
    type: str
    timestamp: float  # epoch seconds
    attempt: int | None
    tokens_in: float | None
    tokens_out: float | None
    model: str | None


def outline(session: Session, run_id: uuid.UUID, *, without: Collection[str], limit: int) -> list[Mark]:
    """Return the first events of a run, in order, without the types that are named."""
    counts = (_number(RunEvent.payload[f"{side}_token_count"]) for side in ("input", "output"))
    query = (
        select(
            RunEvent.seq,
            RunEvent.type,
            RunEvent.timestamp,
            RunEvent.attempt,
            *counts,
            func.left(RunEvent.payload["model"].astext, 100),
        )
        .where(is_of(run_id), RunEvent.type.not_in(without))
        .order_by(RunEvent.seq)
        .limit(limit)
    )
    return [Mark(*row) for row in session.execute(query)]


class Attempt(NamedTuple):
    """What the log has of one attempt."""

    number: int | None
    events: int
    first_at: float  # epoch seconds
    last_at: float


def attempts(session: Session, run_id: uuid.UUID) -> list[Attempt]:
    """Return the attempts that the log of a run has events of, in order."""
    query = (
        select(RunEvent.attempt, func.count(), func.min(RunEvent.timestamp), func.max(RunEvent.timestamp))
        .where(is_of(run_id))
        .group_by(RunEvent.attempt)
        .order_by(RunEvent.attempt)
    )
    return [Attempt(*row) for row in session.execute(query)]


def counts_of_queued(
    session: Session, organization_id: uuid.UUID, conditions: Sequence[ColumnElement[bool]]
) -> list[int]:
    """Count an organization's QUEUED runs that meet each of some conditions, with one look at these."""
    query = select(*(func.count().filter(one) for one in conditions))
    queued = [Run.organization_id == organization_id, Run.status == RunStatus.QUEUED]
    return list(session.execute(query.where(*queued)).one())


def counts(
    session: Session, organization_id: uuid.UUID, conditions: Sequence[ColumnElement[bool]]
) -> list[int]:
    """Count an organization's runs that meet each of some conditions."""
    own = Run.organization_id == organization_id
    queries = [select(func.count()).where(own, one).scalar_subquery() for one in conditions]
    return list(session.execute(select(*queries)).one())
