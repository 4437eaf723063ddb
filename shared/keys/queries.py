"""Named reads of API keys."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.errors import ApiKeyNotFoundError
from shared.models import ApiKey


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A slice of an organization's keys, newest first."""

    keys: Sequence[ApiKey]
    total: int


def page(
    session: Session,
    *,
    organization_id: uuid.UUID,
    user_id: uuid.UUID | None = None,
    offset: int,
    limit: int,
) -> KeyPage:
    """Return the keys of an organization, or only one user's in it; those of runs are not shown."""
    conditions = [ApiKey.organization_id == organization_id, ApiKey.run_id.is_(None)]
    if user_id is not None:
        conditions.append(ApiKey.user_id == user_id)
    total = session.scalar(select(func.count()).select_from(ApiKey).where(*conditions)) or 0
    query = (
        select(ApiKey)
        .where(*conditions)
        .order_by(ApiKey.created_at.desc(), ApiKey.id)
        .offset(offset)
        .limit(limit)
    )
    return KeyPage(session.scalars(query).all(), total)


def get_key(
    session: Session, key_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> ApiKey:
    """Return a key of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        ApiKeyNotFoundError: there is none, or it is another organization's.
    """
    key = session.scalar(
        locked(
            select(ApiKey).where(
                ApiKey.id == key_id, ApiKey.organization_id == organization_id, ApiKey.run_id.is_(None)
            ),
            lock,
            ApiKey,
        )
    )
    if key is None:
        raise ApiKeyNotFoundError(key_id)
    return key
