"""Named reads of assistants."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.errors import AssistantNotFoundError
from shared.models import Assistant
from shared.sizes import without_large


@dataclass(frozen=True, slots=True)
class AssistantPage:
    """A slice of an organization's assistants, newest first."""

    assistants: Sequence[Assistant]
    total: int


def get_assistant(
    session: Session, assistant_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Assistant:
    """Return an assistant of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        AssistantNotFoundError: there is none, it was deleted, or it is another organization's.
    """
    assistant = session.scalar(
        locked(
            select(Assistant).where(
                Assistant.id == assistant_id,
                Assistant.organization_id == organization_id,
                Assistant.deleted_at.is_(None),
            ),
            lock,
            Assistant,
        )
    )
    if assistant is None:
        raise AssistantNotFoundError(assistant_id)
    return assistant


def page(
    session: Session,
    *,
    organization_id: uuid.UUID,
    names: Collection[str] = (),
    ids: Collection[uuid.UUID] | None = None,
    offset: int,
    limit: int,
    is_light: bool = False,
) -> AssistantPage:
    """Return an organization's assistants, newest first; or those with given names or ids.

    Args:
        is_light: leave large values unloaded.
    """
    conditions = [Assistant.organization_id == organization_id, Assistant.deleted_at.is_(None)]
    if names or ids is not None:
        conditions.append(or_(Assistant.name.in_(names), Assistant.id.in_(ids or ())))
    total = session.scalar(select(func.count()).select_from(Assistant).where(*conditions)) or 0
    query = (
        select(Assistant)
        .options(*without_large(Assistant, when=is_light))
        .where(*conditions)
        .order_by(Assistant.created_at.desc(), Assistant.id)
        .offset(offset)
        .limit(limit)
    )
    return AssistantPage(session.scalars(query).all(), total)
