"""Deployments of structures: make, list, read."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.deployment_schemas import DeploymentCreate, DeploymentList, DeploymentView
from api.griptape.errors import documented
from api.griptape.pagination import PartDep
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.path_ids import DeploymentId, StructureId
from api.requests.run_filters import split
from api.routing import KeyedRoute
from shared.models import Deployment, DeploymentStatus, KeyScope
from shared.organizations.quotas import Resource
from shared.structures import queries, service

router = APIRouter(tags=["Deployments"], route_class=KeyedRoute)

Statuses = Annotated[frozenset[DeploymentStatus], BeforeValidator(split), Query()]


@router.post(
    "/structures/{structure_id}/deployments",
    status_code=HTTPStatus.ACCEPTED,
    response_model=DeploymentView,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_structure_deployment(
    session: SessionDep,
    principal: PrincipalDep,
    once: OnceDep,
    *,
    quotas: QuotasDep,
    structure_id: StructureId,
    body: DeploymentCreate | None = None,
) -> Deployment:
    """Deploy a structure's code. The deployment is complete when the request is answered."""
    del body

    def make() -> Deployment:
        quotas.require_room_for(session, Resource.DEPLOYMENT, principal.organization_id)
        return service.deploy(session, principal, structure_id)

    return once(
        make,
        lambda made: queries.get_deployment(session, made, organization_id=principal.organization_id),
    )


@router.get(
    "/structures/{structure_id}/deployments",
    response_model=DeploymentList,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
def list_structure_deployments(
    session: SessionDep,
    principal: PrincipalDep,
    structure_id: StructureId,
    part: PartDep,
    status: Statuses = frozenset(),
) -> dict[str, Any]:
    """List a structure's deployments, newest first."""
    structure = queries.get_structure(session, structure_id, organization_id=principal.organization_id)
    found = queries.page_of_deployments(session, structure, statuses=status, part=part.part(session))
    return {"deployments": found.rows, "pagination": part.pagination(session, found)}


@router.get("/deployments/{deployment_id}", response_model=DeploymentView, responses=documented(NOT_FOUND))
def get_deployment(session: SessionDep, principal: PrincipalDep, deployment_id: DeploymentId) -> Deployment:
    """Read a deployment."""
    return queries.get_deployment(session, deployment_id, organization_id=principal.organization_id)
