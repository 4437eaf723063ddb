"""Named reads of API keys."""

import uuid

from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import ApiKeyNotFoundError
from shared.models import ApiKey
from shared.rows.paging import Page, Part, newest_first
from shared.rows.single import get_owned


def page(
    session: Session, *, organization_id: uuid.UUID, user_id: uuid.UUID | None = None, part: Part
) -> Page[ApiKey]:
    """Return the keys of an organization, newest first, or only one user's; those of runs are not shown."""
    conditions = [ApiKey.organization_id == organization_id, ApiKey.run_id.is_(None)]
    if user_id is not None:
        conditions.append(ApiKey.user_id == user_id)
    return newest_first(session, ApiKey, conditions, part)


def get_key(
    session: Session, key_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> ApiKey:
    """Return a key of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        ApiKeyNotFoundError: there is none, or it is another organization's.
    """
    return get_owned(
        session,
        ApiKey,
        key_id,
        ApiKey.organization_id == organization_id,
        ApiKey.run_id.is_(None),
        missing=ApiKeyNotFoundError,
        lock=lock,
    )
