"""Assistant runs: create, list, read, cancel (contract: griptape §6)."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import DispatcherDep, PrincipalDep, SessionDep, SessionsDep
from api.errors import TOO_LARGE
from api.griptape.errors import documented
from api.griptape.fields import AssistantId, RunId
from api.griptape.pagination import PageDep, Pagination
from api.griptape.run_schemas import RunCreate, RunList, RunsCancel, RunsCancelled, RunView, Statuses
from api.idempotency import OnceDep
from api.routing import KeyedRoute
from shared.assistants.queries import get_assistant
from shared.models import Run
from shared.runs import queries, service

router = APIRouter(tags=["Assistant Runs"], route_class=KeyedRoute)

_BAD, _UNKNOWN = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND


@router.post(
    "/assistants/{assistant_id}/runs",
    status_code=HTTPStatus.CREATED,
    response_model=RunView,
    responses=documented(_BAD, _UNKNOWN, HTTPStatus.CONFLICT, TOO_LARGE),
)
def create_assistant_run(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    once: OnceDep,
    *,
    assistant_id: AssistantId,
    body: RunCreate | None = None,
) -> Run:
    """Accept a run; it is durable when answered, and a worker takes it from there."""
    request = (body or RunCreate()).request()
    return once(
        lambda: service.submit(session, dispatcher, principal, assistant_id, request),
        lambda made: queries.get_run(session, made, organization_id=principal.organization_id),
    )


@router.get("/assistants/{assistant_id}/runs", response_model=RunList, responses=documented(_BAD, _UNKNOWN))
def list_assistant_runs(
    session: SessionDep,
    principal: PrincipalDep,
    assistant_id: AssistantId,
    page: PageDep,
    status: Annotated[Statuses, Query()] = frozenset(),
) -> dict[str, Any]:
    """List an assistant's runs, newest first; `status` is one or more, repeated or with commas."""
    get_assistant(session, assistant_id, organization_id=principal.organization_id)
    found = queries.page_of_assistant(
        session,
        assistant_id,
        organization_id=principal.organization_id,
        statuses=status,
        offset=page.offset,
        limit=page.size,
    )
    return {"assistant_runs": found.runs, "pagination": Pagination.of(page, total=found.total)}


@router.get("/assistant-runs/{assistant_run_id}", response_model=RunView, responses=documented(_UNKNOWN))
def get_assistant_run(session: SessionDep, principal: PrincipalDep, assistant_run_id: RunId) -> Run:
    """Read a run."""
    return queries.get_run(session, assistant_run_id, organization_id=principal.organization_id)


@router.post(
    "/assistant-runs/{assistant_run_id}/cancel", response_model=RunView, responses=documented(_UNKNOWN)
)
def cancel_assistant_run(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, assistant_run_id: RunId
) -> Run:
    """Cancel a run; one that has ended stays as it is. A body is ignored."""
    return service.cancel(session, dispatcher, principal, assistant_run_id)


@router.post(
    "/assistants/{assistant_id}/runs/cancel",
    response_model=RunsCancelled,
    responses=documented(_BAD, _UNKNOWN, TOO_LARGE),
)
def cancel_assistant_runs(
    sessions: SessionsDep,
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
