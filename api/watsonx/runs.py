"""Runs: create, stream, list, read, cancel (contract: watsonx §3)."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from api.dependencies import (
    CancelSessionDep,
    DispatcherDep,
    HubDep,
    ListsDep,
    PrincipalDep,
    QuotasDep,
    SessionDep,
    SessionsDep,
    TermsDep,
)
from api.idempotency import OnceDep
from api.lists import Show
from api.path_ids import AssistantId, RunId
from api.routing import KeyedRoute
from api.run_filters import RunFilterDep, split
from api.run_keys import RunAccess, open_to_runs
from api.watsonx.errors import ERRORS
from api.watsonx.lines import EventArray, EventLines, stored_then_live, within
from api.watsonx.paging import SliceDep, WholeSliceDep
from api.watsonx.run_schemas import AssistantRun, Cancelled, Created, RunEvent, RunOrchestrate, RunPage
from api.watsonx.statuses import Status, narrowed
from api.watsonx.steps import steps_of
from shared.assistants.queries import get_assistant
from shared.assistants.service import default_assistant
from shared.errors import InvalidRequestError, RunNotFoundError
from shared.keys.principal import Principal
from shared.models import Run
from shared.runs import lists as run_lists
from shared.runs import queries, service
from shared.runs.lifecycle import RunStatus

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)

EVENT_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The run's events, each a line of JSON. Space before one says that the run goes on.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

RUN_ID: Final = "X-Run-ID"
"""A header of a stream that begins with its run: its first line may be long in coming."""

Timeout = Annotated[int | None, Ge(1), Le(86_400_000), Query(description="Milliseconds.")]
EventsTimeout = Annotated[int, Ge(0), Le(86_400_000), Query(description="Milliseconds.")]
Flag = Annotated[bool, Query()]


class Creation:
    """What every way to create a run needs."""

    def __init__(
        self,
        session: SessionDep,
        principal: PrincipalDep,
        dispatcher: DispatcherDep,
        *,
        quotas: QuotasDep,
        terms: TermsDep,
        once: OnceDep,
    ) -> None:
        self._quotas = quotas
        self._session = session
        self.principal = principal
        self._dispatcher = dispatcher
        self._once = once
        self._terms = terms

    def submit(self, body: RunOrchestrate, assistant_id: uuid.UUID | None) -> Run:
        """Accept a run of the assistant that is named, or else of the one called `default`."""
        request = body.request()

        def make() -> Run:
            self._quotas.require_room_for_run(self._session, self.principal.organization_id)
            chosen = assistant_id or default_assistant(self._session, self.principal).id
            return service.submit(
                self._session, self._dispatcher, self.principal, chosen, request, terms=self._terms
            )

        return self._once(make, self._find)

    def _find(self, run_id: uuid.UUID) -> Run:
        return queries.get_run(self._session, run_id, organization_id=self.principal.organization_id)


CreationDep = Annotated[Creation, Depends()]


Statuses = Annotated[
    frozenset[Status],
    BeforeValidator(split),
    Query(description="One or more of this dialect's, repeated or with commas."),
]


async def _wanted(wanted: RunFilterDep, status: Statuses = frozenset()) -> run_lists.RunFilter:
    return narrowed(wanted, status)


WantedDep = Annotated[run_lists.RunFilter, Depends(_wanted)]


def _lines(hub: HubDep, run: Run, timeout: int | None, principal: Principal) -> EventLines:
    seconds = None if timeout is None else timeout / 1000
    events = within(hub.follow(run.id, after=0, principal=principal), seconds)
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
def run_assistant(
    creation: CreationDep,
    *,
    assistant_id: AssistantId,
    body: RunOrchestrate | None = None,
) -> Created:
    """Accept a run of an assistant; an `agent_id` beside it has to be the same."""
    wanted = body or RunOrchestrate()
    if wanted.agent_id not in {None, assistant_id}:
        raise InvalidRequestError(
            f"The path names the assistant {assistant_id}, which is another agent.", path=("body", "agent_id")
        )
    return Created.of(creation.submit(wanted, assistant_id))


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
    """List an assistant's runs, newest first; what is in the query is ours."""
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
def create_run(
    creation: CreationDep,
    hub: HubDep,
    *,
    body: RunOrchestrate | None = None,
    stream: Flag = False,
    stream_timeout: Timeout = None,
) -> Any:
    """Accept a run; with `stream`, answer with its events."""
    wanted = body or RunOrchestrate()
    run = creation.submit(wanted, wanted.agent_id)
    return _lines(hub, run, stream_timeout, creation.principal) if stream else Created.of(run)


@router.post(
    "/orchestrate/runs/stream",
    tags=["Orchestrate Agent"],
    response_class=StreamingResponse,
    responses=EVENT_LINES,
)
@open_to_runs(RunAccess.RUNS)
def create_run_and_stream(
    creation: CreationDep,
    hub: HubDep,
    *,
    body: RunOrchestrate | None = None,
    stream_timeout: Timeout = None,
) -> Response:
    """Accept a run, and answer with its events."""
    wanted = body or RunOrchestrate()
    run = creation.submit(wanted, wanted.agent_id)
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
    """List all runs of assistants, oldest first, as clients count on, unless `order` says otherwise.

    With a cursor nothing is counted: `total` is null.
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
def cancel_run(
    session: CancelSessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, run_id: RunId
) -> Cancelled:
    """Cancel a run; one that has ended stays as it is."""
    run = service.cancel(session, dispatcher, principal, run_id)
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
    sessions: SessionsDep,
    principal: PrincipalDep,
    hub: HubDep,
    *,
    run_id: RunId,
    stream_timeout: EventsTimeout = 1000,
) -> Response:
    """List a run's events from its first on; of a run that goes on, those of the next milliseconds, too."""
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    events = stored_then_live(sessions, hub, run, principal=principal, seconds=stream_timeout / 1000)
    return EventArray(events, run, heartbeat=hub.heartbeat)
