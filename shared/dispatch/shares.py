"""Shares: a tenant has at most a fixed number of runs on the workers, so that no tenant fills them.

A run beyond the share stays QUEUED and is not sent; its `dispatched_at` is empty until the share has room.
An organization and those that its keys have created are one tenant (`Organization.tenant_id`).
A structure run that an assistant run calls as a tool takes no room, nor does an external run.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update
from sqlalchemy.orm import Session

from shared.errors import ShareUsedUpError
from shared.lifecycle import HELD, RunKind, RunStatus
from shared.models import Organization, Run

_LOCKS: Final = 0x5348
"""The first half of the keys of tenants' advisory locks."""

_COUNTED: Final = (Run.parent_run_id.is_(None), ~Run.is_external)
_READY: Final = (Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, *_COUNTED)
_WAITING: Final = and_(*_READY, Run.dispatched_at.is_(None))
_SENT: Final = and_(*_READY, Run.dispatched_at.isnot(None))
_UNDER_WAY: Final = and_(Run.status.in_(HELD), *_COUNTED)
_TENANT: Final = func.coalesce(Organization.tenant_id, Organization.id)


@dataclass(frozen=True, slots=True)
class Message:
    """The content of a run's message to the workers."""

    run_id: uuid.UUID
    attempt: int
    kind: RunKind
    owners: Mapping[str, str] = field(default_factory=dict, compare=False)  # for monitors alone


def owners_of(run: Any) -> dict[str, str]:
    """The ids by which an operator searches for a run's task; nothing of what the run is about.

    Args:
        run: a run, or a row with its `organization_id`, `assistant_id` and `structure_id`.
    """
    names = ("organization_id", "assistant_id", "structure_id")
    return {name: str(value) for name in names if (value := getattr(run, name)) is not None}


def counts(run: Run, share: int | None) -> bool:
    """Whether there is a share, and the run takes room in it."""
    return share is not None and run.parent_run_id is None and not run.is_external


def is_held_back(share: int | None) -> ColumnElement[bool]:
    """Whether a run waits for room in its tenant's share, as SQL."""
    return false() if share is None else _WAITING


def take_next(session: Session, organization_id: uuid.UUID, *, share: int) -> Sequence[Message]:
    """Choose the oldest waiting runs that an organization's tenant has room for, and mark them as sent.

    Lock nothing before it in the same transaction.
    """
    own = _of_tenant(_have_turn(session, organization_id))
    room = share - _count(session, own, or_(_UNDER_WAY, _SENT))
    if room <= 0:
        return []
    oldest = (
        select(Run.id)
        .where(own, _WAITING)
        .order_by(Run.created_at)
        .limit(room)
        .with_for_update(skip_locked=True)
    )
    send = (
        update(Run)
        .where(Run.id.in_(session.scalars(oldest).all()), _WAITING)
        .values(dispatched_at=func.now())
        .returning(
            Run.id, Run.attempt, Run.organization_id, Run.assistant_id, Run.structure_id, Run.created_at
        )
        .execution_options(synchronize_session=False)
    )
    rows = sorted(session.execute(send), key=lambda row: row.created_at)
    return [
        Message(
            row.id,
            row.attempt + 1,
            RunKind.STRUCTURE if row.structure_id else RunKind.ASSISTANT,
            owners_of(row),
        )
        for row in rows
    ]


def waiting_organizations(
    session: Session, *, share: int | None, limit: int, after: uuid.UUID | None = None
) -> Sequence[uuid.UUID]:
    """Organizations with waiting runs and room for them, in the order of their ids.

    The process that should send the runs has failed.
    """
    if share is None:
        return []
    is_its = Organization.id == Run.organization_id
    full = (
        select(_TENANT)
        .select_from(Run)
        .join(Organization, is_its)
        .where(or_(_UNDER_WAY, _SENT))
        .group_by(_TENANT)
        .having(func.count() >= share)
    )
    waiting = select(Run.organization_id).join(Organization, is_its).where(_WAITING, _TENANT.not_in(full))
    if after is not None:
        waiting = waiting.where(Run.organization_id > after)
    return session.scalars(waiting.distinct().order_by(Run.organization_id).limit(limit)).all()


def require_room(session: Session, run: Run, *, share: int | None) -> None:
    """Refuse a new claim if its tenant has more runs under way than its share.

    Claims of one tenant wait here for each other's commit, so that each counts the others. Lock nothing
    after it in the same transaction.

    Raises:
        ShareUsedUpError: roll the claim back, then `put_back` the run.
    """
    if share is None or not counts(run, share):
        return
    tenant = _have_turn(session, run.organization_id)
    if _count(session, _of_tenant(tenant), _UNDER_WAY) > share:
        raise ShareUsedUpError(f"Its tenant has {share} runs under way, which is its share.")


def put_back(session: Session, run_id: uuid.UUID) -> uuid.UUID | None:
    """Make a QUEUED run wait for room again, after its message came too early.

    Returns:
        Its organization; None if the run is not QUEUED any more.
    """
    back = update(Run).where(Run.id == run_id, _SENT).values(dispatched_at=None)
    return session.scalar(back.returning(Run.organization_id).execution_options(synchronize_session=False))


def _have_turn(session: Session, organization_id: uuid.UUID) -> uuid.UUID:
    """Take the lock of an organization's tenant, and return the tenant's id."""
    tenant = session.scalar(select(_TENANT).where(Organization.id == organization_id)) or organization_id
    session.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(str(tenant)))))
    return tenant


def _of_tenant(tenant: uuid.UUID) -> ColumnElement[bool]:
    its = select(Organization.id).where(or_(Organization.id == tenant, Organization.tenant_id == tenant))
    return Run.organization_id.in_(its)


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
