"""Named reads of assistants."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import AssistantNotFoundError
from shared.models import Assistant
from shared.rows.paging import Page, Part, newest_first
from shared.rows.single import get_owned


def get_assistant(
    session: Session, assistant_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Assistant:
    """Return an assistant of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        AssistantNotFoundError: there is none, it was deleted, or it is another organization's.
    """
    return get_owned(
        session,
        Assistant,
        assistant_id,
        Assistant.organization_id == organization_id,
        Assistant.deleted_at.is_(None),
        missing=AssistantNotFoundError,
        lock=lock,
    )


def page(
    session: Session,
    *,
    organization_id: uuid.UUID,
    names: Collection[str] = (),
    ids: Collection[uuid.UUID] | None = None,
    metadata: Mapping[str, str] = MappingProxyType({}),
    part: Part,
    is_light: bool = False,
) -> Page[Assistant]:
    """Return an organization's assistants, newest first; or those with given names or ids.

    Args:
        metadata: what they have noted, all of it.
        is_light: leave large values unloaded.
    """
    conditions = [Assistant.organization_id == organization_id, Assistant.deleted_at.is_(None)]
    if names or ids is not None:
        conditions.append(or_(Assistant.name.in_(names), Assistant.id.in_(ids or ())))
    return newest_first(session, Assistant, conditions, part, metadata=metadata, is_light=is_light)


def names(session: Session, *, organization_id: uuid.UUID, limit: int) -> Sequence[Row[uuid.UUID, str]]:
    """Return the ids and names of an organization's assistants, the newest first."""
    return session.execute(
        select(Assistant.id, Assistant.name)
        .where(Assistant.organization_id == organization_id, Assistant.deleted_at.is_(None))
        .order_by(Assistant.created_at.desc(), Assistant.id)
        .limit(limit)
    ).all()
