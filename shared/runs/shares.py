"""How many runs of one tenant the workers have at once, so that nobody's runs fill them all.

A run beyond the share stays QUEUED and is not sent: `dispatched_at` is empty until there is room for it.
Organizations that the keys of one have made are one tenant with it (`Organization.tenant_id`).
What a run calls as a tool counts with its caller, which waits for it; an external run is in no worker.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update
from sqlalchemy.orm import Session

from shared.errors import ShareUsedUpError
from shared.models import Organization, Run
from shared.runs.lifecycle import HELD, RunKind, RunStatus

_LOCKS: Final = 0x5348
"""The first half of the advisory locks of tenants, so that they meet no others."""

_COUNTED: Final = (Run.parent_run_id.is_(None), ~Run.is_external)
_READY: Final = (Run.status == RunStatus.QUEUED, ~Run.waits_for_thread, *_COUNTED)
_WAITING: Final = and_(*_READY, Run.dispatched_at.is_(None))
_SENT: Final = and_(*_READY, Run.dispatched_at.isnot(None))
_UNDER_WAY: Final = and_(Run.status.in_(HELD), *_COUNTED)
_TENANT: Final = func.coalesce(Organization.tenant_id, Organization.id)


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent of a run."""

    run_id: uuid.UUID
    attempt: int
    kind: RunKind


def counts(run: Run, share: int | None) -> bool:
    """Whether there is a share, and a run takes of it."""
    return share is not None and run.parent_run_id is None and not run.is_external


def is_held_back(share: int | None) -> ColumnElement[bool]:
    """Whether a run waits until there is room for it in its tenant's share."""
    return false() if share is None else _WAITING


def take_next(session: Session, organization_id: uuid.UUID, *, share: int) -> Sequence[Message]:
    """Choose what an organization's tenant has room for, the oldest first, and note that it is sent.

    Nothing may be locked before it in the same transaction.
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
        .returning(Run.id, Run.attempt, Run.structure_id, Run.created_at)
        .execution_options(synchronize_session=False)
    )
    rows = sorted(session.execute(send), key=lambda row: row.created_at)
    return [
        Message(row.id, row.attempt + 1, RunKind.STRUCTURE if row.structure_id else RunKind.ASSISTANT)
        for row in rows
    ]


def waiting_organizations(session: Session, *, share: int | None, limit: int) -> Sequence[uuid.UUID]:
    """Organizations that have runs waiting, and room for them: whoever was to send them did not."""
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
    return session.scalars(waiting.distinct().limit(limit)).all()


def require_room(session: Session, run: Run, *, share: int | None) -> None:
    """Refuse a run that was just claimed, if its tenant has more under way than its share.

    Claims of one tenant wait here for each other's commits: nobody counts past another. Nothing
    may be locked after it in the same transaction.

    Raises:
        ShareUsedUpError: the claim is to be rolled back, and the run `put_back`.
    """
    if share is None or not counts(run, share):
        return
    tenant = _have_turn(session, run.organization_id)
    if _count(session, _of_tenant(tenant), _UNDER_WAY) > share:
        raise ShareUsedUpError(f"Its tenant has {share} runs under way, which is its share.")


def put_back(session: Session, run_id: uuid.UUID) -> uuid.UUID | None:
    """Have a QUEUED run, whose message came too early, wait for room.

    Returns:
        Its organization; None if it is not QUEUED any more.
    """
    back = update(Run).where(Run.id == run_id, _SENT).values(dispatched_at=None)
    return session.scalar(back.returning(Run.organization_id).execution_options(synchronize_session=False))


def _have_turn(session: Session, organization_id: uuid.UUID) -> uuid.UUID:
    """Wait for those who count for the same tenant, and return which that is."""
    tenant = session.scalar(select(_TENANT).where(Organization.id == organization_id)) or organization_id
    session.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(str(tenant)))))
    return tenant


def _of_tenant(tenant: uuid.UUID) -> ColumnElement[bool]:
    its = select(Organization.id).where(or_(Organization.id == tenant, Organization.tenant_id == tenant))
    return Run.organization_id.in_(its)


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Run).where(*conditions)) or 0
