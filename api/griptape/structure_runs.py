"""Structure runs: create, list, read, cancel, complete (contract: griptape §8)."""

import uuid
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from api.dependencies import (
    CancelSessionDep,
    CancelSessionsDep,
    DispatcherDep,
    ListsDep,
    PrincipalDep,
    QuotasDep,
    ReaderDep,
    SessionDep,
    TermsDep,
    VariableRuleDep,
    WaitingDep,
)
from api.errors import TOO_LARGE
from api.griptape.errors import documented
from api.griptape.run_schemas import RunsCancel
from api.griptape.runs import Wait, read_run
from api.griptape.structure_run_schemas import (
    CalledRuns,
    StructureRunComplete,
    StructureRunCreate,
    StructureRunsCancelled,
    StructureRunView,
)
from api.griptape.variables import check_given, check_stored
from api.idempotency import OnceDep
from api.lists import shown_as
from api.path_ids import RunId, StructureId, StructureRunId
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from shared.models import Run
from shared.runs import queries, service
from shared.runs.lifecycle import RunKind
from shared.structures import runs
from shared.structures.queries import get_structure

router = APIRouter(tags=["Structure Runs"], route_class=KeyedRoute)

_BAD, _UNKNOWN = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND


class Rules:
    """What the operator says of new runs."""

    def __init__(self, quotas: QuotasDep, terms: TermsDep, variables: VariableRuleDep) -> None:
        self.quotas = quotas
        self.terms = terms
        self.variables = variables


RulesDep = Annotated[Rules, Depends()]


@router.post(
    "/structures/{structure_id}/runs",
    status_code=HTTPStatus.CREATED,
    response_model=StructureRunView,
    responses=documented(_BAD, _UNKNOWN, HTTPStatus.CONFLICT, TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS),
)
@open_to_runs(RunAccess.RUNS)
def create_structure_run(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    *,
    rules: RulesDep,
    once: OnceDep,
    structure_id: StructureId,
    body: StructureRunCreate | None = None,
) -> Run:
    """Accept a run; it is durable when answered, and a worker takes it from there."""
    request = (body or StructureRunCreate()).request()
    check_given(rules.variables, request.env_vars)

    def submit() -> Run:
        rules.quotas.require_room_for_run(session, principal.organization_id)
        if request.is_external:
            rules.quotas.require_room_for_external_run(session, principal.organization_id)
        structure = get_structure(session, structure_id, organization_id=principal.organization_id)
        check_stored(rules.variables, structure.env_vars)
        return runs.submit(session, dispatcher, principal, structure_id, request, terms=rules.terms)

    def find(made: uuid.UUID) -> Run:
        return queries.get_run(
            session, made, organization_id=principal.organization_id, kind=RunKind.STRUCTURE
        )

    return once(submit, find)


@router.get(
    "/structure-runs/{structure_run_id}",
    response_model=StructureRunView,
    responses=documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.OWN)
async def get_structure_run(
    request: Request,
    reader: ReaderDep,
    principal: PrincipalDep,
    waiting: WaitingDep,
    *,
    structure_run_id: StructureRunId,
    wait: Wait = 0,
) -> Run:
    """Read a run; with `wait`, once it has ended or after so many seconds, of which 50 are the most."""
    return await read_run(
        request, reader, principal, waiting, structure_run_id, wait=wait, kind=RunKind.STRUCTURE
    )


@router.post(
    "/structure-runs/{structure_run_id}/cancel",
    response_model=StructureRunView,
    responses=documented(_UNKNOWN),
)
def cancel_structure_run(
    session: CancelSessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    structure_run_id: StructureRunId,
) -> Run:
    """Cancel a run; one that has ended stays as it is. A body is ignored."""
    return service.cancel(session, dispatcher, principal, structure_run_id, kind=RunKind.STRUCTURE)


@router.post(
    "/structures/{structure_id}/runs/cancel",
    response_model=StructureRunsCancelled,
    responses=documented(_BAD, _UNKNOWN, TOO_LARGE),
)
def cancel_structure_runs(
    sessions: CancelSessionsDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    structure_id: StructureId,
    body: RunsCancel | None = None,
) -> dict[str, Any]:
    """Cancel a structure's runs that have not ended, the newest first, up to 200 in one call."""
    statuses = (body or RunsCancel()).wanted()
    done = service.cancel_many(
        sessions, dispatcher, principal, structure_id, kind=RunKind.STRUCTURE, statuses=statuses
    )
    return {
        "cancelled": len(done.run_ids),
        "remaining": done.remaining,
        "structure_run_ids": done.run_ids,
    }


@router.post(
    "/structure-runs/{structure_run_id}/complete",
    response_model=StructureRunView,
    responses=documented(_BAD, _UNKNOWN, HTTPStatus.CONFLICT, TOO_LARGE),
)
@open_to_runs(RunAccess.REPORT)
def complete_structure_run(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    quotas: QuotasDep,
    *,
    structure_run_id: StructureRunId,
    body: StructureRunComplete | None = None,
) -> Run:
    """End a run that is executed elsewhere; one that has ended stays as it is."""
    completion = (body or StructureRunComplete()).completion()
    quotas.require_moderate_output(completion.output)
    return runs.complete(session, dispatcher, principal, structure_run_id, completion)


@router.get(
    "/assistant-runs/{assistant_run_id}/structure-runs",
    response_model=CalledRuns,
    responses=documented(_UNKNOWN),
)
@open_to_runs(RunAccess.RUNS)
def list_called_structure_runs(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, assistant_run_id: RunId
) -> Response:
    """List the structure runs that an assistant run has called as tools."""
    run = queries.get_run(session, assistant_run_id, organization_id=principal.organization_id)
    called = queries.called_by(session, run.id, is_light=True)
    return lists.answer(session, principal, called, shown_as(StructureRunView), key="structure_runs")
