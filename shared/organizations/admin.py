"""Administration of organizations, users and keys, by operators with access to the database."""

import re
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import CursorResult, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.errors import (
    ApiKeyNotFoundError,
    ConflictError,
    InvalidRequestError,
    OrganizationNotFoundError,
)
from shared.models import ApiKey, Membership, Organization, Role, User
from shared.organizations.admin_queries import find_operators_organization
from shared.rows import single as rows

MAX_NAME: Final = 200  # characters, as the tables have it
MAX_EMAIL: Final = 320  # characters
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def create_organization(session: Session, name: str, *, description: str = "") -> Organization:
    """Create an operator's organization, to which nobody belongs yet; tenants may have others of that name.

    Raises:
        InvalidRequestError: it cannot be called that.
        ConflictError: an operator's organization has that name, which would no longer tell which is meant.
    """
    check_name(name)
    if find_operators_organization(session, name) is not None:
        message = f"There is an organization named {name!r} already."
        raise ConflictError(message)
    organization = Organization(id=uuid.uuid4(), name=name, description=description, is_operators=True)
    session.add(organization)
    session.flush()
    return organization


def ensure_organization(session: Session, name: str) -> Organization:
    """Return the operator's organization of this name, made if there is none; never a tenant's.

    Raises:
        InvalidRequestError: it cannot be called that.
    """
    return find_operators_organization(session, name) or create_organization(session, name)


def set_retention(
    session: Session, organization_id: uuid.UUID, fields: Mapping[str, timedelta | None]
) -> Organization:
    """Set for how long an organization's runs and threads are kept; what is not named stays.

    Args:
        fields: by the names of the columns; zero keeps for ever, None means what the settings say.

    Raises:
        OrganizationNotFoundError: there is none.
    """
    organization = session.get(Organization, organization_id, with_for_update={"key_share": True})
    if organization is None:
        raise OrganizationNotFoundError(organization_id)
    return rows.change(session, organization, fields)


def ensure_member(
    session: Session, organization_id: uuid.UUID, email: str, *, role: Role | None = None
) -> User:
    """Make the user of this e-mail address a member of an organization; the user too, if there is none.

    Args:
        role: what the user is to be there; absent, a new member is an owner, and an old one stays as is.

    Raises:
        InvalidRequestError: that is no e-mail address.
    """
    if len(email) > MAX_EMAIL or not email.isprintable() or not _EMAIL.fullmatch(email):
        message = f"This is not an e-mail address: {email!r}."
        raise InvalidRequestError(message)
    new = insert(User).values(id=uuid.uuid4(), email=email, name=email.partition("@")[0])
    session.execute(new.on_conflict_do_nothing())
    user = session.scalars(select(User).where(func.lower(User.email) == func.lower(email))).one()
    membership = insert(Membership).values(
        organization_id=organization_id, user_id=user.id, role=role or Role.OWNER
    )
    if role is None:
        session.execute(membership.on_conflict_do_nothing())
    else:
        place = [Membership.organization_id, Membership.user_id]
        session.execute(membership.on_conflict_do_update(index_elements=place, set_={"role": role}))
    return user


def remove_member(session: Session, user_id: uuid.UUID, *, organization_id: uuid.UUID | None = None) -> int:
    """Take a user, with the keys, out of an organization, or out of all; what the user made stays.

    Returns:
        The number of organizations the user no longer belongs to.
    """
    leave = delete(Membership).where(Membership.user_id == user_id)
    if organization_id is not None:
        leave = leave.where(Membership.organization_id == organization_id)
    return _count(session.execute(leave))


def delete_key(session: Session, key_id: uuid.UUID) -> None:
    """Delete a key; every process has stopped accepting it after `key_cache_ttl`.

    Raises:
        ApiKeyNotFoundError: there is none.
    """
    if not _count(session.execute(delete(ApiKey).where(ApiKey.id == key_id))):
        raise ApiKeyNotFoundError(key_id)


def check_name(name: str) -> None:
    """Refuse a name that the tables or a terminal would not take.

    Raises:
        InvalidRequestError: it is empty, too long, or holds what cannot be printed.
    """
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        message = f"A name has 1 to {MAX_NAME} characters that can be printed."
        raise InvalidRequestError(message)


def _count(result: object) -> int:
    return result.rowcount if isinstance(result, CursorResult) else 0
