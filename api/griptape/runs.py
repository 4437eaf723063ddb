"""Assistant runs: create, list, read, cancel, delete."""

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
    HubDep,
    PrincipalDep,
    Reader,
    ReaderDep,
    WaiterDep,
)
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE, TOO_MANY_REQUESTS
from api.griptape.errors import documented
from api.griptape.fields import at_most, seconds
from api.griptape.run_schemas import RunCreate, RunsCancel, RunsCancelled, RunView
from api.key_scopes import takes
from api.requests.path_ids import AssistantId, RunId
from api.routing import KeyedRoute
from api.run_cancels import RunCancelDep
from api.run_creation import RunCreationDep
from api.run_keys import RunAccess, open_to_runs
from api.streaming.waiting import WAIT_TIMEOUT, RunWaiter
from shared.assistants.queries import get_assistant
from shared.keys.principal import Principal
from shared.lifecycle import ACTIVE, RunKind
from shared.models import KeyScope, Run
from shared.runs import queries, service

router = APIRouter(tags=["Assistant Runs"], route_class=KeyedRoute)

Wait = Annotated[
    float,
    Ge(0),
    at_most(WAIT_TIMEOUT),
    seconds(default=0),
    Query(description=f"Seconds to wait for the end of the run, at most {WAIT_TIMEOUT:g}."),
]


@router.post(
    "/assistants/{assistant_id}/runs",
    status_code=HTTPStatus.CREATED,
    response_model=RunView,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE, TOO_MANY_REQUESTS),
)
@open_to_runs(RunAccess.RUNS)
@takes(KeyScope.RUN)
async def create_assistant_run(
    creation: RunCreationDep, *, assistant_id: AssistantId, body: RunCreate | None = None
) -> Run:
    """Create a run. It is stored when the request is answered; a worker executes it."""
    return await creation.submit(assistant_id, (body or RunCreate()).request())


@router.get(
    "/assistant-runs/{assistant_run_id}", response_model=RunView, responses=documented(BAD_REQUEST, NOT_FOUND)
)
@open_to_runs(RunAccess.RUNS)
async def get_assistant_run(
    request: Request,
    reader: ReaderDep,
    principal: PrincipalDep,
    waiter: WaiterDep,
    *,
    assistant_run_id: RunId,
    wait: Wait = 0,
) -> Run:
    """Read a run. With `wait`, answer when it ends or after `wait` seconds (at most 50)."""
    return await read_run(
        request, reader, principal, waiter, assistant_run_id, wait=wait, kind=RunKind.ASSISTANT
    )


async def read_run(
    request: Request,
    reader: Reader,
    principal: Principal,
    waiter: RunWaiter,
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
        await waiter.until_ended(run.id, wait, principal=principal, receive=request.receive)
        run = await reader(read)
    return run


@router.post(
    "/assistant-runs/{assistant_run_id}/cancel", response_model=RunView, responses=documented(NOT_FOUND)
)
@takes(KeyScope.RUN)
async def cancel_assistant_run(cancel: RunCancelDep, assistant_run_id: RunId) -> Run:
    """Cancel a run. An ended run does not change. A body is ignored."""
    return await cancel(assistant_run_id)


@router.delete(
    "/assistant-runs/{assistant_run_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(NOT_FOUND),
)
@takes(KeyScope.ADMIN)
def delete_assistant_run(
    session: CancelSessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    hub: HubDep,
    assistant_run_id: RunId,
) -> None:
    """Delete a run, its events and the structure runs that it called. Active ones are cancelled first."""
    hub.newcomers.forget(assistant_run_id)
    service.delete(session, dispatcher, principal, assistant_run_id)


@router.post(
    "/assistants/{assistant_id}/runs/cancel",
    response_model=RunsCancelled,
    responses=documented(BAD_REQUEST, NOT_FOUND, TOO_LARGE),
)
@takes(KeyScope.RUN)
def cancel_assistant_runs(
    sessions: CancelSessionsDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    assistant_id: AssistantId,
    body: RunsCancel | None = None,
) -> dict[str, Any]:
    """Cancel an assistant's active runs, newest first, at most 200 per call."""
    done = service.cancel_many(
        sessions,
        dispatcher,
        principal,
        assistant_id,
        get_subject=get_assistant,
        statuses=(body or RunsCancel()).wanted(),
    )
    return {
        "cancelled": len(done.run_ids),
        "remaining": done.remaining,
        "assistant_run_ids": done.run_ids,
    }
