"""Organizations: list, create, read, change, delete, and their users."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter

from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, FORBIDDEN, NOT_FOUND, TOO_LARGE
from api.griptape.errors import documented
from api.griptape.organization_schemas import (
    OrganizationCreate,
    OrganizationList,
    OrganizationUpdate,
    OrganizationView,
)
from api.griptape.pagination import PageDep, Pagination
from api.griptape.user_schemas import MemberList
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.path_ids import OrganizationId
from api.routing import KeyedRoute
from shared.models import KeyScope, Organization
from shared.organizations import queries, service

router = APIRouter(prefix="/organizations", tags=["Organizations"], route_class=KeyedRoute)


@router.get("", response_model=OrganizationList, responses=documented())
def list_organizations(session: SessionDep, principal: PrincipalDep) -> dict[str, Any]:
    """List the organizations of the key's user."""
    found = queries.organizations_of(session, principal.user_id)
    return {"organizations": [OrganizationView.of(organization) for organization in found]}


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=documented(FORBIDDEN, BAD_REQUEST, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_organization(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    once: OnceDep,
    body: OrganizationCreate,
) -> OrganizationView:
    """Create an organization. The key's user owns it; requests in it need a key of its own."""

    def make() -> Organization:
        quotas.require_room_for_organization(session, principal.user_id)
        return service.create(session, principal, body.given())

    organization = once(
        make,
        lambda made: queries.get_organization(session, made, user_id=principal.user_id),
    )
    return OrganizationView.of(organization)


@router.get("/{organization_id}", responses=documented(NOT_FOUND))
def get_organization(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId
) -> OrganizationView:
    """Read an organization."""
    return OrganizationView.of(queries.get_organization(session, organization_id, user_id=principal.user_id))


@router.patch("/{organization_id}", responses=documented(FORBIDDEN, BAD_REQUEST, NOT_FOUND, TOO_LARGE))
@takes(KeyScope.ADMIN)
def update_organization(
    session: SessionDep,
    principal: PrincipalDep,
    organization_id: OrganizationId,
    body: OrganizationUpdate | None = None,
) -> OrganizationView:
    """Change the key's organization. Absent fields stay. Only an owner may do this."""
    fields = body.given() if body else {}
    return OrganizationView.of(service.change(session, principal, organization_id, fields))


@router.delete(
    "/{organization_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(FORBIDDEN, NOT_FOUND, CONFLICT),
)
@takes(KeyScope.ADMIN)
def delete_organization(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId
) -> None:
    """Delete the key's organization and all it owns. Only an owner may, and only without active runs."""
    service.delete(session, principal, organization_id)


@router.get(
    "/{organization_id}/users", response_model=MemberList, responses=documented(BAD_REQUEST, NOT_FOUND)
)
def list_organization_users(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId, page: PageDep
) -> dict[str, Any]:
    """List the users of the key's organization, by e-mail address."""
    organization = service.get_within_reach(session, principal, organization_id)
    found = queries.users_of(session, organization.id, part=page.part)
    return {"users": found.rows, "pagination": Pagination.of(page, total=found.count)}
