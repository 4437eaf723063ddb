"""Structure runs: create, list, read, cancel, complete, delete."""

from dataclasses import dataclass
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
    WaiterDep,
)
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE, TOO_MANY_REQUESTS
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
from api.key_scopes import takes
from api.lists import shown_as
from api.requests.path_ids import RunId, StructureId, StructureRunId
from api.routing import KeyedRoute
from api.run_cancels import RunCancelDep
from api.run_keys import RunAccess, open_to_runs
from shared.lifecycle import RunKind
from shared.models import KeyScope, Run
from shared.runs import queries, service
from shared.structures import runs
from shared.structures.queries import get_structure

router = APIRouter(tags=["Structure Runs"], route_class=KeyedRoute)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator says of new runs."""

    quotas: QuotasDep
    terms: TermsDep
    variables: VariableRuleDep


RulesDep = Annotated[Rules, Depends()]


@router.post(
    "/structures/{structure_id}/runs",
    status_code=HTTPStatus.CREATED,
    response_model=StructureRunView,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE, TOO_MANY_REQUESTS),
)
@open_to_runs(RunAccess.RUNS)
@takes(KeyScope.RUN)
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
    """Create a run. It is stored when the request is answered; a worker executes it."""
    request = (body or StructureRunCreate()).request()
    check_given(rules.variables, request.env_vars)

    def submit() -> Run:
        rules.quotas.require_room_for_run(session, principal.organization_id)
        if request.is_external:
            rules.quotas.require_room_for_external_run(session, principal.organization_id)
        structure = get_structure(session, structure_id, organization_id=principal.organization_id)
        check_stored(rules.variables, structure.env_vars)
        return runs.submit(session, dispatcher, principal, structure_id, request, terms=rules.terms)

    return once(
        submit,
        lambda made: queries.get_run(
            session, made, organization_id=principal.organization_id, kind=RunKind.STRUCTURE
        ),
    )


@router.get(
    "/structure-runs/{structure_run_id}",
    response_model=StructureRunView,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.OWN)
async def get_structure_run(
    request: Request,
    reader: ReaderDep,
    principal: PrincipalDep,
    waiter: WaiterDep,
    *,
    structure_run_id: StructureRunId,
    wait: Wait = 0,
) -> Run:
    """Read a run. With `wait`, answer when it ends or after `wait` seconds (at most 50)."""
    return await read_run(
        request, reader, principal, waiter, structure_run_id, wait=wait, kind=RunKind.STRUCTURE
    )


@router.post(
    "/structure-runs/{structure_run_id}/cancel",
    response_model=StructureRunView,
    responses=documented(NOT_FOUND),
)
@takes(KeyScope.RUN)
async def cancel_structure_run(cancel: RunCancelDep, structure_run_id: StructureRunId) -> Run:
    """Cancel a run. An ended run does not change. A body is ignored."""
    return await cancel(structure_run_id, kind=RunKind.STRUCTURE)


@router.delete(
    "/structure-runs/{structure_run_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(NOT_FOUND),
)
@takes(KeyScope.ADMIN)
def delete_structure_run(
    session: CancelSessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    structure_run_id: StructureRunId,
) -> None:
    """Delete a run with its events, logs and spans. An active one is cancelled first."""
    service.delete(session, dispatcher, principal, structure_run_id, kind=RunKind.STRUCTURE)


@router.post(
    "/structures/{structure_id}/runs/cancel",
    response_model=StructureRunsCancelled,
    responses=documented(BAD_REQUEST, NOT_FOUND, TOO_LARGE),
)
@takes(KeyScope.RUN)
def cancel_structure_runs(
    sessions: CancelSessionsDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    structure_id: StructureId,
    body: RunsCancel | None = None,
) -> dict[str, Any]:
    """Cancel a structure's active runs, newest first, at most 200 per call."""
    statuses = (body or RunsCancel()).wanted()
    done = service.cancel_many(
        sessions, dispatcher, principal, structure_id, get_subject=get_structure, statuses=statuses
    )
    return {
        "cancelled": len(done.run_ids),
        "remaining": done.remaining,
        "structure_run_ids": done.run_ids,
    }


@router.post(
    "/structure-runs/{structure_run_id}/complete",
    response_model=StructureRunView,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@open_to_runs(RunAccess.REPORT)
@takes(KeyScope.RUN)
def complete_structure_run(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    quotas: QuotasDep,
    *,
    structure_run_id: StructureRunId,
    body: StructureRunComplete | None = None,
) -> Run:
    """End an external run. An ended run does not change."""
    completion = (body or StructureRunComplete()).completion()
    quotas.require_moderate_output(completion.output)
    return runs.complete(session, dispatcher, principal, structure_run_id, completion)


@router.get(
    "/assistant-runs/{assistant_run_id}/structure-runs",
    response_model=CalledRuns,
    responses=documented(NOT_FOUND),
)
@open_to_runs(RunAccess.RUNS)
def list_called_structure_runs(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, assistant_run_id: RunId
) -> Response:
    """List the structure runs that an assistant run called as tools."""
    run = queries.get_run(session, assistant_run_id, organization_id=principal.organization_id)
    called = queries.called_by(session, run.id, is_light=True)
    return lists.answer(session, principal, called, shown_as(StructureRunView), key="structure_runs")
