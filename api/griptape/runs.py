"""Assistant runs: create, list, read, cancel (contract: griptape §6)."""

import uuid
from http import HTTPStatus
from typing import Annotated, Any

from annotated_types import Ge
from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from api.dependencies import (
    CancelSessionDep,
    CancelSessionsDep,
    DispatcherDep,
    PrincipalDep,
    QuotasDep,
    Reader,
    ReaderDep,
    SessionDep,
    TermsDep,
    WaitingDep,
)
from api.errors import TOO_LARGE
from api.griptape.errors import documented
from api.griptape.fields import at_most, seconds
from api.griptape.run_schemas import RunCreate, RunsCancel, RunsCancelled, RunView
from api.idempotency import OnceDep
from api.path_ids import AssistantId, RunId
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from api.waiting import LONGEST, Waiting
from shared.keys.principal import Principal
from shared.models import Run
from shared.runs import queries, service
from shared.runs.lifecycle import ACTIVE, RunKind

router = APIRouter(tags=["Assistant Runs"], route_class=KeyedRoute)

Wait = Annotated[
    float,
    Ge(0),
    at_most(LONGEST),
    seconds(default=0),
    Query(description=f"Seconds; {LONGEST:g} are the most, and more is taken for as many."),
]

_BAD, _UNKNOWN = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND


@router.post(
    "/assistants/{assistant_id}/runs",
    status_code=HTTPStatus.CREATED,
    response_model=RunView,
    responses=documented(_BAD, _UNKNOWN, HTTPStatus.CONFLICT, TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS),
)
@open_to_runs(RunAccess.RUNS)
def create_assistant_run(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    *,
    quotas: QuotasDep,
    terms: TermsDep,
    once: OnceDep,
    assistant_id: AssistantId,
    body: RunCreate | None = None,
) -> Run:
    """Accept a run; it is durable when answered, and a worker takes it from there."""
    request = (body or RunCreate()).request()

    def make() -> Run:
        quotas.require_room_for_run(session, principal.organization_id)
        return service.submit(session, dispatcher, principal, assistant_id, request, terms=terms)

    return once(
        make,
        lambda made: queries.get_run(session, made, organization_id=principal.organization_id),
    )


@router.get(
    "/assistant-runs/{assistant_run_id}", response_model=RunView, responses=documented(_BAD, _UNKNOWN)
)
@open_to_runs(RunAccess.RUNS)
async def get_assistant_run(
    request: Request,
    reader: ReaderDep,
    principal: PrincipalDep,
    waiting: WaitingDep,
    *,
    assistant_run_id: RunId,
    wait: Wait = 0,
) -> Run:
    """Read a run; with `wait`, once it has ended or after so many seconds, of which 50 are the most."""
    return await read_run(
        request, reader, principal, waiting, assistant_run_id, wait=wait, kind=RunKind.ASSISTANT
    )


async def read_run(
    request: Request,
    reader: Reader,
    principal: Principal,
    waiting: Waiting,
    run_id: uuid.UUID,
    *,
    wait: float,
    kind: RunKind,
) -> Run:
    """Read a run of either kind, waiting for its end for up to `wait` seconds.

    Raises:
        RunNotFoundError: there is no such run of that kind in the principal's organization.
    """

    def read(session: Session) -> Run:
        return queries.get_run(session, run_id, organization_id=principal.organization_id, kind=kind)

    run = await reader(read)
    if wait and run.status in ACTIVE:
        await waiting.until_ended(run.id, wait, principal=principal, receive=request.receive)
        run = await reader(read)
    return run


@router.post(
    "/assistant-runs/{assistant_run_id}/cancel", response_model=RunView, responses=documented(_UNKNOWN)
)
def cancel_assistant_run(
    session: CancelSessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, assistant_run_id: RunId
) -> Run:
    """Cancel a run; one that has ended stays as it is. A body is ignored."""
    return service.cancel(session, dispatcher, principal, assistant_run_id)


@router.post(
    "/assistants/{assistant_id}/runs/cancel",
    response_model=RunsCancelled,
    responses=documented(_BAD, _UNKNOWN, TOO_LARGE),
)
def cancel_assistant_runs(
    sessions: CancelSessionsDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    assistant_id: AssistantId,
    body: RunsCancel | None = None,
) -> dict[str, Any]:
    """Cancel an assistant's runs that have not ended, the newest first, up to 200 in one call."""
    done = service.cancel_many(
        sessions, dispatcher, principal, assistant_id, statuses=(body or RunsCancel()).wanted()
    )
    return {
        "cancelled": len(done.run_ids),
        "remaining": done.remaining,
        "assistant_run_ids": done.run_ids,
    }
