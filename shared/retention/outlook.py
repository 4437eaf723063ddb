"""What the retention of one organization keeps, and what the next purge takes of it, in bounded time."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, false, func, select
from sqlalchemy.orm import Session

from shared.errors import OrganizationNotFoundError
from shared.models import Organization, Run, Thread
from shared.retention.policy import KEEP, Policy
from shared.retention.purge import SUBJECTS, idle_since, is_due

LOOKED_AT: Final = 5_000
"""Runs of each kind that are looked at: the oldest ones, which a purge takes first."""

THREADS_LOOKED_AT: Final = 500
"""The same of threads, each with its newest message and its runs."""


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long something is kept; None is for ever."""

    by_settings: timedelta | None
    own: timedelta | None  # of the organization; zero keeps for ever, None leaves it to the settings

    @property
    def effective(self) -> timedelta | None:
        """The one that counts."""
        if self.own is None:
            return self.by_settings
        return None if self.own == KEEP else self.own


@dataclass(frozen=True, slots=True)
class OldestRun:
    """The oldest run that is there."""

    id: uuid.UUID
    created_at: datetime
    completed_at: datetime | None
    is_due: bool  # the next purge takes it


@dataclass(frozen=True, slots=True)
class Outlook:
    """The retention of an organization, and what it means at present."""

    runs: Kept
    threads: Kept
    due_runs: int = 0
    due_events: int = 0
    due_log_lines: int = 0
    due_bytes: int = 0  # of runs, events and spans, as quotas count them
    due_threads: int = 0
    has_more_runs: bool = False  # there are more old ones than were looked at
    has_more_threads: bool = False
    oldest: OldestRun | None = None


def outlook(session: Session, policy: Policy, organization_id: uuid.UUID) -> Outlook:
    """Look at the retention of an organization, and at its oldest runs and threads.

    Args:
        policy: of the settings; the organization's own retention replaces it.

    Raises:
        OrganizationNotFoundError: it was deleted; its keys may be remembered for a while.
    """
    own = session.execute(
        select(Organization.retention_runs, Organization.retention_threads).where(
            Organization.id == organization_id
        )
    ).one_or_none()
    if own is None:
        raise OrganizationNotFoundError(organization_id)
    kept_runs, kept_threads = Kept(policy.runs, own[0]), Kept(policy.threads, own[1])
    runs = [0, 0, 0, 0, 0]
    if kept_runs.effective is not None:
        for subject in SUBJECTS:
            found = session.execute(_of_runs(policy, organization_id, subject)).one()
            runs = [mine + int(theirs) for mine, theirs in zip(runs, found, strict=True)]
    threads = (0, 0)
    if kept_threads.effective is not None:
        looked, due = session.execute(_of_threads(policy, organization_id)).one()
        threads = looked, due
    looked, due, events, log_lines, size = runs
    return Outlook(
        runs=kept_runs,
        threads=kept_threads,
        due_runs=due,
        due_events=events,
        due_log_lines=log_lines,
        due_bytes=size,
        due_threads=threads[1],
        has_more_runs=looked >= LOOKED_AT,
        has_more_threads=threads[0] >= THREADS_LOOKED_AT,
        oldest=_oldest(session, policy, organization_id),
    )


def _of_runs(policy: Policy, organization_id: uuid.UUID, subject: Any) -> Select[*tuple[Any, ...]]:
    """How many old runs of one kind are looked at, how many of these are due, and what is stored of them."""
    looked_at = (
        select(Run.id)
        .where(
            Run.organization_id == organization_id,
            subject.is_not(None),
            Run.created_at < policy.runs_before,
            Organization.id == organization_id,
        )
        .order_by(Run.created_at)
        .limit(LOOKED_AT)
        .cte("looked_at")
    )
    due = is_due(policy)
    sums = (
        func.coalesce(func.sum(column).filter(due), 0)
        for column in (Run.event_count, Run.log_count, Run.stored_bytes)
    )
    return (
        select(func.count(), func.count().filter(due), *sums)
        .select_from(Run)
        .join(looked_at, looked_at.c.id == Run.id)
        .join(Organization, Organization.id == organization_id)
    )


def _of_threads(policy: Policy, organization_id: uuid.UUID) -> Select[int, int]:
    """How many old threads are looked at, and how many of these are due."""
    looked_at = (
        select(Thread.id)
        .where(
            Thread.organization_id == organization_id,
            Thread.created_at < policy.threads_before,
            Organization.id == organization_id,
        )
        .order_by(Thread.created_at)
        .limit(THREADS_LOOKED_AT)
        .cte("looked_at")
    )
    return (
        select(func.count(), func.count().filter(idle_since(policy.threads_before)))
        .select_from(Thread)
        .join(looked_at, looked_at.c.id == Thread.id)
        .join(Organization, Organization.id == organization_id)
    )


def _oldest(session: Session, policy: Policy, organization_id: uuid.UUID) -> OldestRun | None:
    found = []
    for subject in SUBJECTS:
        due = func.coalesce(is_due(policy), false())
        query = (
            select(Run.id, Run.created_at, Run.completed_at, due)
            .join(Organization, Organization.id == Run.organization_id)
            .where(Run.organization_id == organization_id, subject.is_not(None))
            .order_by(Run.created_at)
            .limit(1)
        )
        row = session.execute(query).one_or_none()
        if row is not None:
            found.append(OldestRun(*row))
    return min(found, key=lambda run: run.created_at, default=None)
