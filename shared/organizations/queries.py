"""Named reads of organizations and users, within the organizations of a user."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.errors import ForbiddenError, OrganizationNotFoundError, UserNotFoundError
from shared.keys.membership import role_of
from shared.models import ApiKey, Membership, Organization, Role, User
from shared.rows.paging import WHOLE, Page, Part, paginate
from shared.rows.single import get_owned


def organizations_of(session: Session, user_id: uuid.UUID) -> Sequence[Organization]:
    """Return the organizations a user belongs to, oldest first."""
    query = (
        select(Organization)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id)
        .order_by(Organization.created_at, Organization.id)
    )
    return session.scalars(query).all()


def get_organization(
    session: Session, organization_id: uuid.UUID, *, user_id: uuid.UUID, lock: Lock | None = None
) -> Organization:
    """Return an organization a user belongs to.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        OrganizationNotFoundError: there is none, or the user does not belong to it.
    """
    of_user = select(Membership.organization_id).where(Membership.user_id == user_id)
    owned = Organization.id.in_(of_user)
    return get_owned(
        session, Organization, organization_id, owned, missing=OrganizationNotFoundError, lock=lock
    )


def require_owner(
    session: Session, user_id: uuid.UUID, *, organization_id: uuid.UUID, otherwise: str
) -> None:
    """Refuse what only an owner may do.

    Args:
        otherwise: what a member is told.

    Raises:
        ForbiddenError: the user is a member, and no owner.
        OrganizationNotFoundError: the user does not belong to it, or not any more: it was deleted meanwhile.
    """
    role = role_of(session, user_id, organization_id=organization_id)
    if role is None:
        raise OrganizationNotFoundError(organization_id)
    if role is not Role.OWNER:
        raise ForbiddenError(otherwise)


def has_keys(session: Session, organization_id: uuid.UUID) -> bool:
    """Whether an organization has a key of its own."""
    return bool(session.scalar(select(exists().where(ApiKey.organization_id == organization_id))))


def hold_organization(session: Session, organization_id: uuid.UUID, lock: Lock) -> None:
    """Hold an organization, if it is there; before any other row, as who deletes it holds it first."""
    query = select(Organization.id).where(Organization.id == organization_id)
    session.execute(locked(query, lock, Organization))


def users_of(session: Session, organization_id: uuid.UUID, *, part: Part = WHOLE) -> Page[User]:
    """Return the users of an organization, by e-mail address."""
    members = select(Membership.user_id).where(Membership.organization_id == organization_id)
    return paginate(session, select(User).where(User.id.in_(members)).order_by(User.email), part)


def get_user(session: Session, user_id: uuid.UUID, *, organization_id: uuid.UUID) -> User:
    """Return a user who belongs to an organization.

    Raises:
        UserNotFoundError: there is none in that organization.
    """
    members = select(Membership.user_id).where(Membership.organization_id == organization_id)
    return get_owned(session, User, user_id, User.id.in_(members), missing=UserNotFoundError)


def memberships_of(
    session: Session, user_ids: Sequence[uuid.UUID], *, seen_by: uuid.UUID
) -> Mapping[uuid.UUID, Sequence[uuid.UUID]]:
    """Return the organizations of each user, as far as another user, `seen_by`, belongs to them too."""
    shared_with = select(Membership.organization_id).where(Membership.user_id == seen_by)
    rows = session.execute(
        select(Membership.user_id, Membership.organization_id)
        .where(Membership.user_id.in_(user_ids), Membership.organization_id.in_(shared_with))
        .order_by(Membership.organization_id)
    )
    found: dict[uuid.UUID, list[uuid.UUID]] = {user_id: [] for user_id in user_ids}
    for user_id, organization_id in rows:
        found[user_id].append(organization_id)
    return found
