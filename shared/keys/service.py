"""API keys: make one, find the principal behind one, and set up the first organization."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import UserNotFoundError
from shared.keys.principal import Principal, RunAttempt
from shared.keys.queries import get_key
from shared.models import ApiKey, Membership, Run, User
from shared.runs.lifecycle import HELD

PREFIX = "ry_"
SECRET_BYTES = 32


def hash_secret(secret: str) -> bytes:
    """What is kept of a secret: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def create_key(
    session: Session, *, organization_id: uuid.UUID, user_id: uuid.UUID, name: str
) -> tuple[ApiKey, str]:
    """Make a key for a member.

    Returns:
        The key, and its secret: `ry_` and 32 random bytes, never to be seen again.

    Raises:
        UserNotFoundError: the user does not belong to the organization, or not any more.
    """
    _hold_member(session, organization_id, user_id)
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(
        organization_id=organization_id,
        user_id=user_id,
        name=name,
        secret_sha256=hash_secret(secret),
    )
    session.add(key)
    session.flush()
    return key, secret


def create_run_key(session: Session, run: Run) -> str:
    """Make a key for a structure run's present attempt, in the name of who created the run.

    It is good while that attempt has the run, and deleted when it no longer has.

    Returns:
        Its secret.

    Raises:
        UserNotFoundError: who created the run no longer belongs to its organization.
    """
    _hold_member(session, run.organization_id, run.created_by)
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    session.add(
        ApiKey(
            organization_id=run.organization_id,
            user_id=run.created_by,
            name=f"run {run.id}",
            secret_sha256=hash_secret(secret),
            run_id=run.id,
            run_attempt=run.attempt,
        )
    )
    session.flush()
    return secret


def _hold_member(session: Session, organization_id: uuid.UUID, user_id: uuid.UUID) -> None:
    member = select(Membership.user_id).where(
        Membership.organization_id == organization_id, Membership.user_id == user_id
    )
    if session.scalar(Lock.REFERENCE(member, Membership)) is None:
        raise UserNotFoundError(user_id)


def delete_run_keys(session: Session, run_id: uuid.UUID) -> None:
    """Delete the keys of a structure run."""
    session.execute(delete(ApiKey).where(ApiKey.run_id == run_id))


def find_principal(session: Session, secret: str) -> Principal | None:
    """Return who bears this secret, or None if nobody does."""
    attempt_has_run = and_(Run.attempt == ApiKey.run_attempt, Run.status.in_(HELD))
    row = session.execute(
        select(ApiKey, User.email)
        .join(User, User.id == ApiKey.user_id)
        .outerjoin(Run, Run.id == ApiKey.run_id)
        .where(ApiKey.secret_sha256 == hash_secret(secret))
        .where(or_(ApiKey.run_id.is_(None), attempt_has_run))
    ).one_or_none()
    if row is None:
        return None
    key, email = row
    run = None if key.run_id is None else RunAttempt(key.run_id, key.run_attempt or 0)
    return Principal(key.organization_id, key.user_id, key.id, email, run)


def rename_key(session: Session, principal: Principal, key_id: uuid.UUID, name: str) -> ApiKey:
    """Give a key another name.

    Raises:
        ApiKeyNotFoundError: there is no such key in the principal's organization.
    """
    key = get_key(session, key_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    key.name = name
    session.flush()
    session.refresh(key)
    return key


def delete_key(session: Session, principal: Principal, key_id: uuid.UUID) -> None:
    """Delete a key; every process has stopped accepting it after `key_cache_ttl`.

    Raises:
        ApiKeyNotFoundError: there is no such key in the principal's organization.
    """
    session.delete(get_key(session, key_id, organization_id=principal.organization_id, lock=Lock.REMOVAL))


def record_use(session: Session, used_at: Mapping[uuid.UUID, datetime]) -> None:
    """Record when keys were last used; an instant older than the one recorded changes nothing.

    A key that somebody else is changing, deleting or recording just then is left out: so nobody ever
    waits here, while holding keys that others wait for.
    """
    if not used_at:
        return
    instant = func.greatest(ApiKey.last_used_at, bindparam("instant"))
    free = (
        select(ApiKey.id)
        .where(ApiKey.id == bindparam("key_id"))
        .with_for_update(skip_locked=True, key_share=True)
        .scalar_subquery()
    )
    record = (
        update(ApiKey).where(ApiKey.id == free).values(last_used_at=instant, updated_at=ApiKey.updated_at)
    )
    uses = [{"key_id": key_id, "instant": instant} for key_id, instant in used_at.items()]
    session.connection().execute(record, uses)
