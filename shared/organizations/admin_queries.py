"""Reads across all organizations, for operators with access to the database."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, Select, exists, false, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.errors import ApiKeyNotFoundError, ConflictError, OrganizationNotFoundError, UserNotFoundError
from shared.models import ApiKey, Assistant, Membership, Organization, Run, User


@dataclass(frozen=True, slots=True)
class Belongings:
    """The rows that are deleted with an organization."""

    keys: int
    assistants: int
    runs: int


def organizations(session: Session) -> Sequence[Row[Organization, int]]:
    """Return all organizations with the number of their users, oldest first."""
    members = (
        select(func.count())
        .select_from(Membership)
        .where(Membership.organization_id == Organization.id)
        .scalar_subquery()
    )
    return session.execute(
        select(Organization, members).order_by(Organization.created_at, Organization.id)
    ).all()


def users(session: Session, *, organization_id: uuid.UUID | None = None) -> Sequence[Row[User, list[str]]]:
    """Return users with the names of their organizations, by e-mail address; all of them, or only one's."""
    names = (
        select(func.array_agg(aggregate_order_by(Organization.name, Organization.name)))
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == User.id)
        .scalar_subquery()
    )
    query = select(User, func.coalesce(names, [])).order_by(func.lower(User.email))
    if organization_id is not None:
        query = query.where(
            exists().where(Membership.user_id == User.id, Membership.organization_id == organization_id)
        )
    return session.execute(query).all()


def keys(
    session: Session, *, organization_id: uuid.UUID | None = None, user_id: uuid.UUID | None = None
) -> Sequence[Row[ApiKey, str, str]]:
    """Return keys with the name of their organization and their user's e-mail address, newest first."""
    query = _keys()
    if organization_id is not None:
        query = query.where(ApiKey.organization_id == organization_id)
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    return session.execute(query).all()


def get_key(session: Session, key_id: uuid.UUID) -> Row[ApiKey, str, str]:
    """Return a key with the name of its organization and its user's e-mail address.

    Raises:
        ApiKeyNotFoundError: there is none.
    """
    row = session.execute(_keys().where(ApiKey.id == key_id)).one_or_none()
    if row is None:
        raise ApiKeyNotFoundError(key_id)
    return row


def get_organization(session: Session, wanted: str) -> Organization:
    """Return the organization of this id or name.

    Raises:
        OrganizationNotFoundError: there is none.
        ConflictError: several have that name.
    """
    found = find_organization(session, wanted)
    if found is None:
        raise OrganizationNotFoundError(wanted)
    return found


def find_organization(session: Session, wanted: str) -> Organization | None:
    """Return the organization of this id or name, or None if there is none.

    What has the form of an id is an id and no name. Of several of one name, the operator's own is meant.

    Raises:
        ConflictError: several of tenants have that name, and none of the operator.
    """
    found = session.scalars(
        select(Organization)
        .where(_is(Organization.id, wanted, Organization.name == wanted))
        .order_by(Organization.is_operators.desc())
        .limit(2)
    ).all()
    if found and found[0].is_operators:
        return found[0]
    if len(found) > 1:
        message = f"Several organizations are named {wanted!r}; give the id of one."
        raise ConflictError(message)
    return found[0] if found else None


def find_operators_organization(session: Session, name: str) -> Organization | None:
    """Return the organization of this name that was made at the command line, or None if there is none."""
    return session.scalar(
        select(Organization).where(Organization.name == name, Organization.is_operators).limit(1)
    )


def members(session: Session, organization_id: uuid.UUID, *, limit: int) -> Sequence[str]:
    """Return the e-mail addresses of an organization's users, of `limit` at the most."""
    query = (
        select(User.email)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id)
        .order_by(User.email)
        .limit(limit)
    )
    return session.scalars(query).all()


def get_user(session: Session, wanted: str) -> User:
    """Return the user of this id or e-mail address.

    Raises:
        UserNotFoundError: there is none.
    """
    by_email = func.lower(User.email) == func.lower(wanted)
    user = session.scalars(select(User).where(_is(User.id, wanted, by_email)).limit(1)).one_or_none()
    if user is None:
        raise UserNotFoundError(wanted)
    return user


def belongings(session: Session, organization_id: uuid.UUID) -> Belongings:
    """Count what is deleted with an organization."""
    counts = [
        session.scalar(
            select(func.count()).select_from(table).where(table.organization_id == organization_id)
        )
        for table in (ApiKey, Assistant, Run)
    ]
    return Belongings(*(count or 0 for count in counts))


def _keys() -> Select[ApiKey, str, str]:
    """Those of people: a run's comes and goes with its attempt."""
    return (
        select(ApiKey, Organization.name, User.email)
        .where(ApiKey.run_id.is_(None))
        .join(Organization, Organization.id == ApiKey.organization_id)
        .join(User, User.id == ApiKey.user_id)
        .order_by(ApiKey.created_at.desc(), ApiKey.id)
    )


def _is(
    identifier: InstrumentedAttribute[uuid.UUID], wanted: str, by_name: ColumnElement[bool]
) -> ColumnElement[bool]:
    try:
        return identifier == uuid.UUID(wanted)
    except ValueError:  # not an id; and what is not text either is nobody's name
        return by_name if wanted.isprintable() else false()
