"""Runs: create, stream, list, read, cancel (contract: watsonx §3)."""

import uuid
from typing import Annotated, Any, Final

from annotated_types import Ge, Le
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from api.dependencies import DispatcherDep, HubDep, PrincipalDep, SessionDep
from api.idempotency import OnceDep
from api.path_ids import AssistantId, RunId
from api.responses import JsonResponse
from api.routing import KeyedRoute
from api.watsonx.errors import ERRORS
from api.watsonx.events import Translator
from api.watsonx.lines import EventLines
from api.watsonx.run_schemas import AssistantRun, Cancelled, Created, RunEvent, RunOrchestrate, RunPage
from shared.assistants.queries import get_assistant
from shared.assistants.service import default_assistant
from shared.errors import RunNotFoundError
from shared.events import log
from shared.models import Run
from shared.runs import queries, service

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_EVENTS = 10_000

EVENT_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The run's events, each a line of JSON.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

Limit = Annotated[int, Ge(1), Le(MAX_LIMIT), Query()]
Offset = Annotated[int, Ge(0), Le(2**31 - 1), Query()]
Timeout = Annotated[int | None, Ge(1), Le(86_400_000), Query(description="Milliseconds.")]
Flag = Annotated[bool, Query()]


class Creation:
    """What every way to create a run needs."""

    def __init__(
        self, session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, once: OnceDep
    ) -> None:
        self._session = session
        self._principal = principal
        self._dispatcher = dispatcher
        self._once = once

    def submit(self, body: RunOrchestrate, assistant_id: uuid.UUID | None) -> Run:
        """Accept a run of the assistant that is named, or else of the one called `default`."""
        request = body.request()

        def make() -> Run:
            chosen = assistant_id or default_assistant(self._session, self._principal).id
            return service.submit(self._session, self._dispatcher, self._principal, chosen, request)

        return self._once(make, self._find)

    def _find(self, run_id: uuid.UUID) -> Run:
        return queries.get_run(self._session, run_id, organization_id=self._principal.organization_id)


CreationDep = Annotated[Creation, Depends()]


def _lines(hub: HubDep, run: Run, timeout: int | None) -> EventLines:
    seconds = None if timeout is None else timeout / 1000
    return EventLines(hub.follow(run.id, after=0), Translator(run), seconds=seconds)


@router.post("/assistants/{assistant_id}/runs", tags=["Assistants Runs"])
def run_assistant(
    creation: CreationDep,
    *,
    assistant_id: AssistantId,
    body: RunOrchestrate | None = None,
) -> Created:
    """Accept a run of an assistant."""
    return Created.of(creation.submit(body or RunOrchestrate(), assistant_id))


@router.get("/assistants/{assistant_id}/runs", tags=["Assistants Runs"])
def list_assistant_runs(
    session: SessionDep,
    principal: PrincipalDep,
    assistant_id: AssistantId,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> list[AssistantRun]:
    """List an assistant's runs, newest first; `limit` and `offset` are ours."""
    get_assistant(session, assistant_id, organization_id=principal.organization_id)
    page = queries.page_of(
        session, assistant_id, organization_id=principal.organization_id, offset=offset, limit=limit
    )
    return [AssistantRun.of(run) for run in page.runs]


@router.get("/assistants/{assistant_id}/runs/{run_id}", tags=["Assistants Runs"])
def get_assistant_run(
    session: SessionDep, principal: PrincipalDep, assistant_id: AssistantId, run_id: RunId
) -> AssistantRun:
    """Read a run of an assistant."""
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    if run.assistant_id != assistant_id:
        raise RunNotFoundError(run_id)
    return AssistantRun.of(run)


@router.post("/orchestrate/runs", response_model=Created, tags=["Orchestrate Agent"], responses=EVENT_LINES)
def create_run(
    creation: CreationDep,
    hub: HubDep,
    *,
    body: RunOrchestrate | None = None,
    stream: Flag = False,
    stream_timeout: Timeout = None,
    multiple_content: Flag = False,
) -> Any:
    """Accept a run; with `stream`, answer with its events."""
    del multiple_content  # an answer is one text here
    wanted = body or RunOrchestrate()
    run = creation.submit(wanted, wanted.agent_id)
    return _lines(hub, run, stream_timeout) if stream else Created.of(run)


@router.post(
    "/orchestrate/runs/stream",
    tags=["Orchestrate Agent"],
    response_class=StreamingResponse,
    responses=EVENT_LINES,
)
def create_run_and_stream(
    creation: CreationDep,
    hub: HubDep,
    *,
    body: RunOrchestrate | None = None,
    stream_timeout: Timeout = None,
    multiple_content: Flag = False,
) -> Response:
    """Accept a run, and answer with its events."""
    del multiple_content
    wanted = body or RunOrchestrate()
    run = creation.submit(wanted, wanted.agent_id)
    return _lines(hub, run, stream_timeout)


@router.get("/orchestrate/runs", tags=["Orchestrate Agent"])
def list_runs(
    session: SessionDep, principal: PrincipalDep, limit: Limit = DEFAULT_LIMIT, offset: Offset = 0
) -> RunPage:
    """List all runs of assistants, oldest first."""
    page = queries.page_of_organization(
        session, organization_id=principal.organization_id, offset=offset, limit=limit
    )
    data = [AssistantRun.of(run) for run in page.runs]
    return RunPage(total=page.total, limit=limit, offset=offset, data=data)


@router.post("/orchestrate/runs/cancel/{run_id}", tags=["Orchestrate Agent"])
def cancel_run(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, run_id: RunId
) -> Cancelled:
    """Cancel a run; one that has ended stays as it is."""
    run = service.cancel(session, dispatcher, principal, run_id)
    return Cancelled(thread_id=run.thread_id, run_id=run.id)


@router.get("/orchestrate/runs/{run_id}", tags=["Orchestrate Agent"])
def get_run(session: SessionDep, principal: PrincipalDep, run_id: RunId) -> AssistantRun:
    """Read a run."""
    return AssistantRun.of(queries.get_run(session, run_id, organization_id=principal.organization_id))


@router.get("/orchestrate/runs/{run_id}/events", response_model=list[RunEvent], tags=["Orchestrate Agent"])
def get_run_events(
    session: SessionDep, principal: PrincipalDep, run_id: RunId, stream_timeout: Timeout = 1000
) -> Response:
    """List a run's events from its first on, as far as they are there: nothing is waited for."""
    del stream_timeout
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    page = log.read(session, run.id, after=0, limit=MAX_EVENTS)
    translator = Translator(run)
    return JsonResponse([one for event in page.events for one in translator.events(event)])
