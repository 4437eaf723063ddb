"""Idempotency keys: a repeated or concurrent request makes one resource."""

import uuid
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.errors import ConflictError
from shared.models import IdempotencyKey

KEY_TTL: Final = timedelta(hours=24)
"""The lifetime of a key."""


def claim(session: Session, organization_id: uuid.UUID, key: str, fingerprint: bytes) -> uuid.UUID | None:
    """Claim a key for the resource of this transaction.

    It waits for the end of a transaction that has the key; after its rollback the key is free.

    Args:
        fingerprint: the hash of the request.

    Returns:
        The id of the resource made for the key before; None if this transaction now has the key.

    Raises:
        ConflictError: the key belongs to another request.
    """
    fresh = insert(IdempotencyKey).values(
        organization_id=organization_id, key=key, fingerprint=fingerprint, resource_id=None
    )
    take = fresh.on_conflict_do_update(
        index_elements=[IdempotencyKey.organization_id, IdempotencyKey.key],
        set_={"fingerprint": fingerprint, "resource_id": None, "created_at": func.now()},
        where=IdempotencyKey.created_at < func.now() - KEY_TTL,
    ).returning(literal(value=True))
    while not session.scalar(take):
        row = session.execute(
            select(IdempotencyKey.fingerprint, IdempotencyKey.resource_id).where(_is(organization_id, key))
        ).one_or_none()
        if row is None:
            continue  # forgotten between the two statements
        if row.fingerprint != fingerprint:
            raise ConflictError("This Idempotency-Key was used for another request.")
        resource_id: uuid.UUID | None = row.resource_id
        return resource_id
    return None


def remember(session: Session, organization_id: uuid.UUID, key: str, resource_id: uuid.UUID) -> None:
    """Store the resource of a key that this transaction has claimed."""
    session.execute(
        update(IdempotencyKey).where(_is(organization_id, key)).values(resource_id=resource_id),
        execution_options={"synchronize_session": False},
    )


def forget_expired(session: Session, *, limit: int) -> int:
    """Delete keys older than `KEY_TTL`, `limit` at the most; return how many."""
    table_key = tuple_(IdempotencyKey.organization_id, IdempotencyKey.key)
    expired = (
        select(IdempotencyKey.organization_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < func.now() - KEY_TTL)
        .order_by(IdempotencyKey.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = session.scalars(
        delete(IdempotencyKey).where(table_key.in_(expired)).returning(IdempotencyKey.key),
        execution_options={"synchronize_session": False},
    )
    return len(gone.all())


def _is(organization_id: uuid.UUID, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyKey.organization_id == organization_id, IdempotencyKey.key == key)
