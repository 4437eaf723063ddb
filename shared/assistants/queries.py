"""Named reads of assistants."""

import uuid
from collections.abc import Collection

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.errors import AssistantNotFoundError
from shared.models import Assistant
from shared.paging import Page, Part, newest_first


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
    part: Part,
    is_light: bool = False,
) -> Page[Assistant]:
    """Return an organization's assistants, newest first; or those with given names or ids.

    Args:
        is_light: leave large values unloaded.
    """
    conditions = [Assistant.organization_id == organization_id, Assistant.deleted_at.is_(None)]
    if names or ids is not None:
        conditions.append(or_(Assistant.name.in_(names), Assistant.id.in_(ids or ())))
    return newest_first(session, Assistant, conditions, part, is_light=is_light)
