"""Use cases of API keys: create, rename, delete, find the principal of a secret, record uses."""

import base64
import hashlib
import re
import secrets
import uuid
import zlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import ApiKeyNotFoundError, ForbiddenError, LeaseLostError, UserNotFoundError
from shared.fence import held_by
from shared.keys.membership import role_of
from shared.keys.principal import Principal, RunAttempt
from shared.keys.queries import get_key
from shared.models import ApiKey, KeyScope, Membership, Organization, Role, Run, RunScope, Structure, User
from shared.rows import single as rows

PREFIX: Final = "ry_"
SECRET_BYTES: Final = 32
CHECKSUM: Final = 6  # characters: a CRC-32 of what stands before it

_FORM: Final = re.compile(r"ry_[A-Za-z0-9_-]{43}(?:[A-Za-z0-9_-]{6})?", re.ASCII)
_PLAIN_LENGTH: Final = len(PREFIX) + 43


def new_secret() -> str:
    """Make a secret: `ry_`, 32 random bytes, and a checksum that tells garbage without a look-up."""
    plain = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return plain + _checksum(plain)


def may_be_secret(secret: str) -> bool:
    """Whether this has the form of a key, and the right checksum, if it has one."""
    if not _FORM.fullmatch(secret):
        return False
    return not has_checksum(secret) or _checksum(secret[:_PLAIN_LENGTH]) == secret[_PLAIN_LENGTH:]


def has_checksum(secret: str) -> bool:
    """Whether a key is of the form that keys have had since they carry a checksum."""
    return len(secret) > _PLAIN_LENGTH


def _checksum(plain: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(plain.encode()).to_bytes(4)).decode().rstrip("=")


def hash_secret(secret: str) -> bytes:
    """Hash a secret for storage: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def create_key(
    session: Session,
    *,
    organization_id: uuid.UUID,
    user_id: uuid.UUID,
    name: str,
    scope: KeyScope = KeyScope.ADMIN,
) -> tuple[ApiKey, str]:
    """Make a key for a member.

    Args:
        scope: what its bearer may do; it never changes.

    Returns:
        The key and its secret, which is not stored.

    Raises:
        UserNotFoundError: the user does not belong to the organization, or not any more.
    """
    _hold_member(session, organization_id, user_id)
    secret = new_secret()
    key = ApiKey(
        organization_id=organization_id,
        user_id=user_id,
        name=name,
        secret_sha256=hash_secret(secret),
        has_checksum=True,
        scope=scope,
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
        LeaseLostError: the attempt no longer has the run.
    """
    organization = select(Organization.id).where(Organization.id == run.organization_id)
    session.execute(Lock.REFERENCE(organization, Organization))
    _hold_member(session, run.organization_id, run.created_by)
    held = select(Run.id).where(held_by(run.attempt, run_id=run.id))
    if session.scalar(Lock.CHANGE(held, Run)) is None:  # else who ends the run deletes the key
        raise LeaseLostError(status=session.scalar(select(Run.status).where(Run.id == run.id)))
    secret = new_secret()
    session.add(
        ApiKey(
            organization_id=run.organization_id,
            user_id=run.created_by,
            name=f"run {run.id}",
            secret_sha256=hash_secret(secret),
            has_checksum=True,
            scope=KeyScope.RUN,
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
    """Return the principal of a secret, or None if no key has it."""
    return _find_principal(session, ApiKey.secret_sha256 == hash_secret(secret))


def find_principal_of(session: Session, key_id: uuid.UUID) -> Principal | None:
    """Return the principal of a key, or None if there is no such key or it is a run's."""
    return _find_principal(session, and_(ApiKey.id == key_id, ApiKey.run_id.is_(None)))


def _find_principal(session: Session, condition: ColumnElement[bool]) -> Principal | None:
    row = session.execute(
        select(ApiKey, User.email, Structure.run_scope, Organization.tenant_id)
        .join(User, User.id == ApiKey.user_id)
        .join(Organization, Organization.id == ApiKey.organization_id)
        .outerjoin(Run, Run.id == ApiKey.run_id)
        .outerjoin(Structure, Structure.id == Run.structure_id)
        .where(condition, _is_good())
    ).one_or_none()
    if row is None:
        return None
    key, email, run_scope, tenant = row
    run = None if key.run_id is None else RunAttempt(key.run_id, key.run_attempt or 0)
    return Principal(
        key.organization_id,
        key.user_id,
        key.id,
        email,
        run,
        run_scope or RunScope.OWN,
        tenant,
        scope=key.scope,
    )


def good_among(session: Session, key_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return the good ones among some keys: not deleted, and of no attempt that has lost its run."""
    query = select(ApiKey.id).outerjoin(Run, Run.id == ApiKey.run_id)
    return set(session.scalars(query.where(ApiKey.id.in_(key_ids), _is_good())))


def has_old_keys(session: Session) -> bool:
    """Whether there are keys without a checksum, so that a secret of that form is worth a look-up."""
    return bool(session.scalar(select(exists().where(ApiKey.has_checksum.is_(False)))))


def _is_good() -> ColumnElement[bool]:
    return or_(ApiKey.run_id.is_(None), held_by(ApiKey.run_attempt))


def rename_key(session: Session, principal: Principal, key_id: uuid.UUID, name: str) -> ApiKey:
    """Rename a key.

    Raises:
        ApiKeyNotFoundError: there is no such key in the organization that is the principal's to manage.
    """
    key = get_managed(session, principal, key_id, lock=Lock.CHANGE)
    return rows.change(session, key, {"name": name})


def delete_key(session: Session, principal: Principal, key_id: uuid.UUID) -> None:
    """Delete a key; every process has stopped accepting it after `key_cache_ttl`.

    Raises:
        ApiKeyNotFoundError: there is no such key in the organization that is the principal's to manage.
    """
    session.delete(get_managed(session, principal, key_id, lock=Lock.REMOVAL))


def get_managed(
    session: Session, principal: Principal, key_id: uuid.UUID, *, lock: Lock | None = None
) -> ApiKey:
    """Return a key that a principal may see, rename and delete: an own one, or any to an owner.

    Raises:
        ApiKeyNotFoundError: there is no such key for the principal.
    """
    key = get_key(session, key_id, organization_id=principal.organization_id, lock=lock)
    if key.user_id != principal.user_id and not is_owner(session, principal):
        raise ApiKeyNotFoundError(key_id)
    return key


def is_owner(session: Session, principal: Principal) -> bool:
    """Whether a principal's user owns the key's organization."""
    return role_of(session, principal.user_id, organization_id=principal.organization_id) is Role.OWNER


def require_oneself(principal: Principal, user_id: uuid.UUID) -> None:
    """Refuse to create a key for another user.

    Raises:
        ForbiddenError: it is another user: whoever has a key of theirs would act in their name.
    """
    if user_id != principal.user_id:
        raise ForbiddenError("A key is made for oneself only.")


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
