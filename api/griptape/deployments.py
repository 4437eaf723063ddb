"""Deployments of structures: make, list, read (contract: griptape §9)."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.errors import TOO_LARGE
from api.griptape.errors import documented
from api.griptape.pagination import PartDep
from api.griptape.structure_schemas import DeploymentCreate, DeploymentList, DeploymentView
from api.idempotency import OnceDep
from api.path_ids import DeploymentId, StructureId
from api.routing import KeyedRoute
from api.run_filters import split
from shared.models import Deployment, DeploymentStatus
from shared.quotas import Resource
from shared.structures import queries, service

router = APIRouter(tags=["Deployments"], route_class=KeyedRoute)

Statuses = Annotated[frozenset[DeploymentStatus], BeforeValidator(split), Query()]

_BAD, _UNKNOWN = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND


@router.post(
    "/structures/{structure_id}/deployments",
    status_code=HTTPStatus.ACCEPTED,
    response_model=DeploymentView,
    responses=documented(_BAD, _UNKNOWN, HTTPStatus.CONFLICT, TOO_LARGE),
)
def create_structure_deployment(
    session: SessionDep,
    principal: PrincipalDep,
    once: OnceDep,
    *,
    quotas: QuotasDep,
    structure_id: StructureId,
    body: DeploymentCreate | None = None,
) -> Deployment:
    """Deploy a structure: done when it is answered, since its code is here already or never will be."""
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
    responses=documented(_BAD, _UNKNOWN),
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


@router.get("/deployments/{deployment_id}", response_model=DeploymentView, responses=documented(_UNKNOWN))
def get_deployment(session: SessionDep, principal: PrincipalDep, deployment_id: DeploymentId) -> Deployment:
    """Read a deployment."""
    return queries.get_deployment(session, deployment_id, organization_id=principal.organization_id)
