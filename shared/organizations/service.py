"""Use cases of organizations: create, change, delete."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import ConflictError, ForbiddenError, OrganizationNotFoundError
from shared.keys.principal import Principal
from shared.lifecycle import TERMINAL
from shared.models import Membership, Organization, Role, Run
from shared.organizations.queries import get_organization, has_keys, require_owner
from shared.rows import single as rows


def create(session: Session, principal: Principal, fields: Mapping[str, Any]) -> Organization:
    """Create an organization from `name` and `description`; the principal's user owns it."""
    organization = Organization(
        id=uuid.uuid4(),
        created_by=principal.user_id,
        created_by_key=principal.key_id,
        tenant_id=principal.tenant,
        **fields,
    )
    session.add(organization)
    session.flush()
    session.add(Membership(organization_id=organization.id, user_id=principal.user_id, role=Role.OWNER))
    session.flush()
    session.refresh(organization)
    return organization


def get_within_reach(
    session: Session, principal: Principal, organization_id: uuid.UUID, *, lock: Lock | None = None
) -> Organization:
    """Return an organization that a principal's key acts on: the key's own, or one it has made.

    An organization that a key has made is in its reach until that organization has a key of its own:
    somebody has to make the first one.

    Raises:
        OrganizationNotFoundError: there is none, or the principal's user does not belong to it.
        ForbiddenError: it takes a key of that organization.
    """
    organization = get_organization(session, organization_id, user_id=principal.user_id, lock=lock)
    if organization.id == principal.organization_id:
        return organization
    if organization.created_by_key == principal.key_id and not has_keys(session, organization.id):
        return organization
    raise ForbiddenError("This takes a key of that organization.")


def get_as_owner(
    session: Session, principal: Principal, organization_id: uuid.UUID, *, lock: Lock | None = None
) -> Organization:
    """Return an organization within reach that a principal's user owns.

    Raises:
        OrganizationNotFoundError, ForbiddenError: as `get_within_reach`; or the user is no owner.
    """
    organization = get_within_reach(session, principal, organization_id, lock=lock)
    require_owner(
        session,
        principal.user_id,
        organization_id=organization.id,
        otherwise="Only an owner changes or deletes an organization.",
    )
    return organization


def change(
    session: Session, principal: Principal, organization_id: uuid.UUID, fields: Mapping[str, Any]
) -> Organization:
    """Set the given ones of `name`, `description` and `default_models`.

    Raises:
        OrganizationNotFoundError: the principal's user does not belong to it.
        ForbiddenError: the user does not own it, or the key is of another.
    """
    organization = get_as_owner(session, principal, organization_id, lock=Lock.CHANGE)
    return rows.change(session, organization, fields)


def delete(session: Session, principal: Principal, organization_id: uuid.UUID) -> None:
    """Delete an organization for a principal.

    Raises:
        OrganizationNotFoundError: the principal's user does not belong to it.
        ForbiddenError: the user does not own it, or the key is of another.
        ConflictError: a run of it has not ended yet.
    """
    erase(session, get_as_owner(session, principal, organization_id).id)


def erase(session: Session, organization_id: uuid.UUID) -> None:
    """Delete an organization with everything it owns: keys, assistants, threads and ended runs.

    Raises:
        OrganizationNotFoundError: there is none.
        ConflictError: a run of it has not ended yet.
    """
    organization = session.get(Organization, organization_id, with_for_update=True)
    if organization is None:
        raise OrganizationNotFoundError(organization_id)
    # A run on its way in holds its organization: those are stored by now, and nobody else begins one.
    is_active = exists().where(Run.organization_id == organization_id, Run.status.not_in(TERMINAL))
    if session.scalar(select(is_active)):
        message = "The organization has runs that have not ended; cancel them first."
        raise ConflictError(message)
    session.delete(organization)
    session.flush()
