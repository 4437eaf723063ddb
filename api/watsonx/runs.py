"""Runs: create, stream, list, read, cancel."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from api.dependencies import (
    HubDep,
    ListsDep,
    PrincipalDep,
    SessionDep,
)
from api.key_scopes import takes
from api.lists import Show
from api.requests.path_ids import AssistantId, RunId
from api.requests.run_filters import RunFilterDep, split
from api.routing import KeyedRoute
from api.run_cancels import RunCancelDep
from api.run_creation import RunCreationDep
from api.run_keys import RunAccess, open_to_runs
from api.watsonx.errors import ERRORS
from api.watsonx.lines import EventArray, EventLines, stored_then_live
from api.watsonx.paging import SliceDep, WholeSliceDep
from api.watsonx.run_schemas import AssistantRun, Cancelled, Created, RunEvent, RunOrchestrate, RunPage
from api.watsonx.statuses import STATUSES, Status
from api.watsonx.steps import steps_of
from shared.assistants.queries import get_assistant
from shared.errors import InvalidRequestError, RunNotFoundError
from shared.keys.principal import Principal
from shared.lifecycle import RunStatus
from shared.models import KeyScope, Run
from shared.runs import lists as run_lists
from shared.runs import queries

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)

EVENT_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The run's events, one JSON object per line. Spaces keep the connection alive.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

RUN_ID: Final = "X-Run-ID"
"""A header of a stream that begins with its run: its first line may be long in coming."""

Timeout = Annotated[int | None, Ge(1), Le(86_400_000), Query(description="Milliseconds.")]
EventsTimeout = Annotated[int, Ge(0), Le(86_400_000), Query(description="Milliseconds.")]
Flag = Annotated[bool, Query()]


Statuses = Annotated[
    frozenset[Status],
    BeforeValidator(split),
    Query(description="One or more statuses, repeated or separated by commas."),
]


async def _wanted(wanted: RunFilterDep, status: Statuses = frozenset()) -> run_lists.RunFilter:
    """Narrow a filter to runs whose status in this dialect is named; no name means every status."""
    if not status:
        return wanted
    ours = {our for our, name in STATUSES.items() if name in status}
    has_failed, has_expired = "failed" in status, "expired" in status
    if has_expired:
        ours.add(RunStatus.ERROR)
    is_expired = None if has_failed is has_expired else has_expired
    return replace(wanted, statuses=frozenset(ours), is_expired=is_expired)


WantedDep = Annotated[run_lists.RunFilter, Depends(_wanted)]


def _lines(hub: HubDep, run: Run, timeout: int | None, principal: Principal) -> EventLines:
    seconds = None if timeout is None else timeout / 1000
    events = hub.follow(run.id, start=0, principal=principal, seconds=seconds)
    lines = EventLines(events, run, heartbeat=hub.heartbeat)
    lines.headers[RUN_ID] = str(run.id)
    return lines


def _shown(session: Session, principal: Principal, runs: Sequence[Run]) -> list[AssistantRun]:
    ended = [run.id for run in runs if run.status is RunStatus.SUCCEEDED]
    steps = steps_of(session, ended, organization_id=principal.organization_id)
    return [AssistantRun.of(run, steps.get(run.id, ())) for run in runs]


def _shown_to(principal: Principal) -> Show:
    return lambda session, runs: _shown(session, principal, runs)


@router.post("/assistants/{assistant_id}/runs", tags=["Assistants Runs"])
@open_to_runs(RunAccess.RUNS)
@takes(KeyScope.RUN)
async def run_assistant(
    creation: RunCreationDep,
    *,
    assistant_id: AssistantId,
    body: RunOrchestrate | None = None,
) -> Created:
    """Create a run of an assistant. An `agent_id` in the body must be the same."""
    wanted = body or RunOrchestrate()
    if wanted.agent_id not in {None, assistant_id}:
        raise InvalidRequestError(
            f"The path names the assistant {assistant_id}, which is another agent.", path=("body", "agent_id")
        )
    return Created.of(await creation.submit(assistant_id, wanted.request()))


@router.get("/assistants/{assistant_id}/runs", response_model=list[AssistantRun], tags=["Assistants Runs"])
@open_to_runs(RunAccess.RUNS)
def list_assistant_runs(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    *,
    assistant_id: AssistantId,
    part: WholeSliceDep,
    wanted: WantedDep,
) -> Response:
    """List an assistant's runs, newest first."""
    get_assistant(session, assistant_id, organization_id=principal.organization_id)
    listed = run_lists.RunList(principal.organization_id, subject_id=assistant_id)
    page = run_lists.page(session, listed, part.part(session), wanted, is_light=True)
    headers = part.headers(session, page)
    return lists.answer(session, principal, page.rows, _shown_to(principal), headers=headers)


@router.get("/assistants/{assistant_id}/runs/{run_id}", tags=["Assistants Runs"])
@open_to_runs(RunAccess.RUNS)
def get_assistant_run(
    session: SessionDep, principal: PrincipalDep, assistant_id: AssistantId, run_id: RunId
) -> AssistantRun:
    """Read a run of an assistant."""
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    if run.assistant_id != assistant_id:
        raise RunNotFoundError(run_id)
    return _shown(session, principal, [run])[0]


@router.post("/orchestrate/runs", response_model=Created, tags=["Orchestrate Agent"], responses=EVENT_LINES)
@open_to_runs(RunAccess.RUNS)
@takes(KeyScope.RUN)
async def create_run(
    creation: RunCreationDep,
    hub: HubDep,
    *,
    body: RunOrchestrate | None = None,
    stream: Flag = False,
    stream_timeout: Timeout = None,
) -> Any:
    """Create a run. With `stream`, answer with its events."""
    wanted = body or RunOrchestrate()
    run = await creation.submit(wanted.agent_id, wanted.request())
    return _lines(hub, run, stream_timeout, creation.principal) if stream else Created.of(run)


@router.post(
    "/orchestrate/runs/stream",
    tags=["Orchestrate Agent"],
    response_class=StreamingResponse,
    responses=EVENT_LINES,
)
@open_to_runs(RunAccess.RUNS)
@takes(KeyScope.RUN)
async def create_run_and_stream(
    creation: RunCreationDep,
    hub: HubDep,
    *,
    body: RunOrchestrate | None = None,
    stream_timeout: Timeout = None,
) -> Response:
    """Create a run and answer with its events."""
    wanted = body or RunOrchestrate()
    run = await creation.submit(wanted.agent_id, wanted.request())
    return _lines(hub, run, stream_timeout, creation.principal)


@router.get("/orchestrate/runs", response_model=RunPage, tags=["Orchestrate Agent"])
@open_to_runs(RunAccess.RUNS)
def list_runs(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    *,
    part: SliceDep,
    wanted: WantedDep,
    order: Annotated[Literal["asc", "desc"], Query(description="`desc`: newest first.")] = "asc",
) -> Response:
    """List the runs of all agents, oldest first unless `order` is `desc`.

    With a cursor, `total` is null.
    """
    listed = run_lists.RunList(principal.organization_id, is_oldest_first=order == "asc")
    page = run_lists.page(session, listed, part.part(session), wanted, is_light=True)
    more = {
        "total": page.total,
        "limit": part.limit,
        "offset": part.offset,
        "next_cursor": part.next_cursor(session, page),
    }
    return lists.answer(session, principal, page.rows, _shown_to(principal), key="data", more=more)


@router.post("/orchestrate/runs/cancel/{run_id}", tags=["Orchestrate Agent"])
@takes(KeyScope.RUN)
async def cancel_run(cancel: RunCancelDep, run_id: RunId) -> Cancelled:
    """Cancel a run. An ended run does not change."""
    run = await cancel(run_id)
    return Cancelled(thread_id=run.thread_id, run_id=run.id)


@router.get("/orchestrate/runs/{run_id}", tags=["Orchestrate Agent"])
@open_to_runs(RunAccess.RUNS)
def get_run(session: SessionDep, principal: PrincipalDep, run_id: RunId) -> AssistantRun:
    """Read a run."""
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    return _shown(session, principal, [run])[0]


@router.get("/orchestrate/runs/{run_id}/events", response_model=list[RunEvent], tags=["Orchestrate Agent"])
@open_to_runs(RunAccess.RUNS)
def get_run_events(
    session: SessionDep,
    principal: PrincipalDep,
    hub: HubDep,
    *,
    run_id: RunId,
    stream_timeout: EventsTimeout = 1000,
) -> Response:
    """List a run's events. For an active run, wait `stream_timeout` milliseconds for more."""
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    events = stored_then_live(
        hub, run.id, stored=run.event_count, principal=principal, seconds=stream_timeout / 1000
    )
    return EventArray(events, run, heartbeat=hub.heartbeat)
