"""How many runs of one organization the workers have at once, so that nobody's runs fill them all.

What a run calls as a tool counts with its caller, which waits for it; an external run is in no worker.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import ColumnElement, Select, and_, false, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.errors import ShareUsedUpError
from shared.models import Run
from shared.runs.lifecycle import HELD, RunKind, RunStatus

T = TypeVar("T")

_LOCKS: Final = 0x5348
"""The first half of the advisory locks of organizations, so that they meet no others."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent of a run."""

    run_id: uuid.UUID
    attempt: int
    kind: RunKind


def counts(run: Run) -> bool:
    """Whether a run takes of its organization's share while a worker has it."""
    return run.parent_run_id is None and not run.is_external


def require_room(session: Session, run: Run, *, share: int | None) -> None:
    """Refuse a run that was just claimed, if its organization has more under way than its share.

    Claims of one organization wait here for each other's commits: nobody counts past another. Nothing
    may be locked after it in the same transaction.

    Raises:
        ShareUsedUpError: the claim is to be rolled back; the run is sent again when another has ended.
    """
    if share is None or not counts(run):
        return
    session.execute(select(func.pg_advisory_xact_lock(_LOCKS, func.hashtext(str(run.organization_id)))))
    if _under_way(session, run.organization_id) > share:
        raise ShareUsedUpError(f"Its organization has {share} runs under way, which is its share.")


def next_of(session: Session, organization_id: uuid.UUID, *, share: int) -> Sequence[Message]:
    """The longest QUEUED runs of an organization, as many as there is room for."""
    room = share - _under_way(session, organization_id)
    if room <= 0:
        return []
    query = (
        select(Run)
        .where(
            Run.status == RunStatus.QUEUED,
            ~Run.waits_for_thread,
            Run.organization_id == organization_id,
            *_COUNTED,
        )
        .order_by(Run.created_at)
        .limit(room)
    )
    return [Message(run.id, run.attempt + 1, run.kind) for run in session.scalars(query)]


def is_used_up(share: int | None) -> ColumnElement[bool]:
    """Whether a run has to wait until others of its organization have ended."""
    if share is None:
        return false()
    full = _held(Run.organization_id).group_by(Run.organization_id).having(func.count() >= share)
    return and_(Run.organization_id.in_(full), *_COUNTED)


_COUNTED: Final = (Run.parent_run_id.is_(None), ~Run.is_external)


def _held(column: ColumnElement[T] | InstrumentedAttribute[T]) -> Select[T]:
    return select(column).where(Run.status.in_(HELD), *_COUNTED)


def _under_way(session: Session, organization_id: uuid.UUID) -> int:
    return session.scalar(_held(func.count()).where(Run.organization_id == organization_id)) or 0
