"""Organizations: list, create, read, change, delete, and their users (contract: griptape §4)."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.griptape.account_schemas import (
    MemberList,
    OrganizationCreate,
    OrganizationList,
    OrganizationUpdate,
    OrganizationView,
)
from api.griptape.errors import documented
from api.griptape.pagination import PageDep, Pagination
from api.idempotency import OnceDep
from api.path_ids import OrganizationId
from api.routing import KeyedRoute
from shared.models import Organization
from shared.organizations import queries, service

router = APIRouter(prefix="/organizations", tags=["Organizations"], route_class=KeyedRoute)

_BAD, _UNKNOWN, _LARGE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@router.get("", response_model=OrganizationList, responses=documented())
def list_organizations(session: SessionDep, principal: PrincipalDep) -> dict[str, Any]:
    """List the organizations the key's user belongs to."""
    found = queries.organizations_of(session, principal.user_id)
    return {"organizations": [OrganizationView.of(organization) for organization in found]}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=documented(HTTPStatus.FORBIDDEN, _BAD, HTTPStatus.CONFLICT, _LARGE),
)
def create_organization(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    once: OnceDep,
    body: OrganizationCreate,
) -> OrganizationView:
    """Create an organization, which the key's user owns. It takes a key of its own to act in it."""

    def make() -> Organization:
        quotas.require_room_for_organization(session, principal.user_id)
        return service.create(session, principal, body.given())

    organization = once(
        make,
        lambda made: queries.get_organization(session, made, user_id=principal.user_id),
    )
    return OrganizationView.of(organization)


@router.get("/{organization_id}", responses=documented(_UNKNOWN))
def get_organization(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId
) -> OrganizationView:
    """Read an organization."""
    return OrganizationView.of(queries.get_organization(session, organization_id, user_id=principal.user_id))


@router.patch("/{organization_id}", responses=documented(HTTPStatus.FORBIDDEN, _BAD, _UNKNOWN, _LARGE))
def update_organization(
    session: SessionDep,
    principal: PrincipalDep,
    organization_id: OrganizationId,
    body: OrganizationUpdate | None = None,
) -> OrganizationView:
    """Change the key's organization, as its owner; a field that is absent stays as it is."""
    fields = body.given() if body else {}
    return OrganizationView.of(service.change(session, principal, organization_id, fields))


@router.delete(
    "/{organization_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(HTTPStatus.FORBIDDEN, _UNKNOWN, HTTPStatus.CONFLICT),
)
def delete_organization(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId
) -> None:
    """Delete the key's organization with all it owns, as its owner; refused while a run goes on."""
    service.delete(session, principal, organization_id)


@router.get("/{organization_id}/users", response_model=MemberList, responses=documented(_BAD, _UNKNOWN))
def list_organization_users(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId, page: PageDep
) -> dict[str, Any]:
    """List the users of the key's organization, by e-mail address."""
    organization = service.get_within_reach(session, principal, organization_id)
    found = queries.users_of(session, organization.id, offset=page.offset, limit=page.size)
    return {"users": found.users, "pagination": Pagination.of(page, total=found.total)}
