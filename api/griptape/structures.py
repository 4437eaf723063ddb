"""Structures: list, create, read, change, delete."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep, TermsDep, VariableRuleDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.errors import documented
from api.griptape.pagination import PartDep
from api.griptape.structure_schemas import StructureCreate, StructureList, StructureUpdate, StructureView
from api.griptape.variables import check_given
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.lists import shown_as
from api.requests.path_ids import StructureId
from api.routing import KeyedRoute
from shared.models import KeyScope, Structure
from shared.organizations.quotas import Resource
from shared.structures import queries, service

router = APIRouter(prefix="/structures", tags=["Structures"], route_class=KeyedRoute)


@router.get("", response_model=StructureList, responses=documented(BAD_REQUEST))
def list_structures(session: SessionDep, principal: PrincipalDep, lists: ListsDep, part: PartDep) -> Response:
    """List structures, newest first."""
    found = queries.page(
        session, organization_id=principal.organization_id, part=part.part(session), is_light=True
    )
    more = {"pagination": part.pagination(session, found)}
    return lists.answer(session, principal, found.rows, shown_as(StructureView), key="structures", more=more)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=StructureView,
    responses=documented(BAD_REQUEST, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_structure(
    session: SessionDep,
    principal: PrincipalDep,
    once: OnceDep,
    *,
    quotas: QuotasDep,
    terms: TermsDep,
    variable_rule: VariableRuleDep,
    body: StructureCreate,
) -> Structure:
    """Create a structure and deploy it."""
    fields = body.given()
    check_given(variable_rule, fields.get("env_vars", ()))

    def make() -> Structure:
        quotas.require_room_for(session, Resource.STRUCTURE, principal.organization_id)
        quotas.require_room_for(session, Resource.DEPLOYMENT, principal.organization_id)
        return service.create(session, principal, fields, terms=terms)

    return once(
        make,
        lambda made: queries.get_structure(session, made, organization_id=principal.organization_id),
    )


@router.get("/{structure_id}", response_model=StructureView, responses=documented(NOT_FOUND))
def get_structure(session: SessionDep, principal: PrincipalDep, structure_id: StructureId) -> Structure:
    """Read a structure."""
    return queries.get_structure(session, structure_id, organization_id=principal.organization_id)


@router.patch(
    "/{structure_id}", response_model=StructureView, responses=documented(BAD_REQUEST, NOT_FOUND, TOO_LARGE)
)
@takes(KeyScope.ADMIN)
def update_structure(
    session: SessionDep,
    principal: PrincipalDep,
    *,
    quotas: QuotasDep,
    terms: TermsDep,
    variable_rule: VariableRuleDep,
    structure_id: StructureId,
    body: StructureUpdate | None = None,
) -> Structure:
    """Change a structure. Absent fields stay; new code is deployed."""
    fields = body.given() if body else {}
    check_given(variable_rule, fields.get("env_vars", ()))
    if "code" in fields:
        quotas.require_room_for(session, Resource.DEPLOYMENT, principal.organization_id)
    return service.change(session, principal, structure_id, fields, terms=terms)


@router.delete("/{structure_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NOT_FOUND))
@takes(KeyScope.ADMIN)
def delete_structure(session: SessionDep, principal: PrincipalDep, structure_id: StructureId) -> None:
    """Delete a structure. Its runs continue and stay readable."""
    service.delete(session, principal, structure_id)
