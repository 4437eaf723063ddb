"""Structures and their deployments."""

from typing import Final

from fastapi import APIRouter, Request, Response

from api.console.actions import SubmitsDep
from api.console.pages import page
from api.console.route import ConsoleRoute, FormDep, text_of, to
from api.console.run_queries import PAGE, RunQuery, cursor_of, position_of
from api.console.text import lines_of, parts_of
from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.key_scopes import takes
from api.requests.path_ids import StructureId
from shared.lifecycle import RunKind
from shared.models import KeyScope, Structure
from shared.organizations.quotas import Resource
from shared.rows.paging import Part
from shared.rows.sizes import load_columns
from shared.runs import lists
from shared.runs.summaries import summaries
from shared.structures import queries, service
from shared.structures.runs import StructureRunRequest

router = APIRouter(route_class=ConsoleRoute, prefix="/structures")

RECENT: Final = 20  # runs and deployments on a structure's page


@router.get("")
def list_structures(request: Request, session: SessionDep, principal: PrincipalDep, at: str = "") -> Response:
    """List structures, newest first."""
    part = Part(limit=PAGE, after=position_of(at), is_walk=True)
    found = queries.page(session, organization_id=principal.organization_id, part=part, is_light=True)
    following = cursor_of(found.rows) if found.has_more else ""
    ids = [structure.id for structure in found.rows]
    rows = load_columns(session, Structure, ids, "name", "description", "webhook_enabled", "created_at")
    return page(request, "structures.html", rows=rows, following=following)


@router.get("/{structure_id}")
def show_structure(
    request: Request, session: SessionDep, principal: PrincipalDep, structure_id: StructureId
) -> Response:
    """Show a structure, its deployments and its last runs. Values of variables are not shown."""
    structure = queries.get_structure(session, structure_id, organization_id=principal.organization_id)
    part = Part(limit=RECENT, is_walk=True)
    deployments = queries.page_of_deployments(session, structure, statuses=frozenset(), part=part)
    listed = lists.RunList(principal.organization_id, RunKind.STRUCTURE, structure.id)
    ids = [run.id for run in lists.page(session, listed, part, is_light=True).rows]
    return page(
        request,
        "structure.html",
        structure=structure,
        code=parts_of(structure.code, 2000),
        variables=[str(one.get("name")) for one in structure.env_vars if isinstance(one, dict)],
        deployments=deployments.rows,
        rows=summaries(session, ids, organization_id=principal.organization_id),
        runs=RunQuery(kind=RunKind.STRUCTURE, subject=str(structure.id)).query(),
    )


@router.post("/{structure_id}/deploy")
@takes(KeyScope.ADMIN)
def deploy_structure(
    session: SessionDep, principal: PrincipalDep, quotas: QuotasDep, structure_id: StructureId
) -> Response:
    """Deploy a structure's code."""
    quotas.require_room_for(session, Resource.DEPLOYMENT, principal.organization_id)
    service.deploy(session, principal, structure_id)
    return to(f"/structures/{structure_id}")


@router.post("/{structure_id}/run")
@takes(KeyScope.RUN)
def run_structure(
    actions: SubmitsDep, principal: PrincipalDep, form: FormDep, structure_id: StructureId
) -> Response:
    """Run a structure with an argument on each line."""
    wanted = StructureRunRequest(args=lines_of(text_of(form, "args")))
    run = actions.submit_structure(principal, structure_id, wanted)
    return to(f"/runs/{run.id}")
