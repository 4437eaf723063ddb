"""Events of assistant runs: listed by offset, streamed, or one by one."""

import uuid
from http import HTTPStatus
from typing import Annotated, Any, Final

from annotated_types import Ge, Le, Lt
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.dependencies import HubDep, PrincipalDep, Reader, ReaderDep, SessionDep
from api.errors import BAD_REQUEST, NOT_FOUND
from api.griptape.errors import documented
from api.griptape.event_schemas import ENCODE, ID_FIELDS, EventPage, EventView, shown
from api.griptape.fields import MAX_NUMBER, at_most, whole
from api.requests.path_ids import EventId, RunId
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from api.streaming.responses import UNBUFFERED, JsonResponse
from api.streaming.sse import EventStream
from api.streaming.streams import StreamHub
from shared.events import log
from shared.keys.principal import Principal
from shared.lifecycle import RunKind
from shared.logs import note
from shared.models import Run
from shared.runs.queries import get_run

router = APIRouter(tags=["Events"], route_class=KeyedRoute)

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000

Offset = Annotated[int, Ge(0), Le(MAX_NUMBER), whole(default=0), Query()]
Limit = Annotated[int, Ge(1), at_most(MAX_LIMIT), whole(default=DEFAULT_LIMIT), Query()]
LastEventId = Annotated[Annotated[int, Ge(0), Lt(MAX_NUMBER)] | None, whole(default=None), Header()]


async def _start(offset: Offset = 0, last_event_id: LastEventId = None) -> int:
    """Where a stream begins: after the last event its reader has seen, or at an offset."""
    return offset if last_event_id is None else last_event_id + 1


StartDep = Annotated[int, Depends(_start)]

EVENT_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The events; the stream ends with the run.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The run has ended and no event follows. Do not reconnect."},
}


@router.get(
    "/assistant-runs/{assistant_run_id}/events",
    response_model=EventPage,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.RUNS)
def list_assistant_events(
    session: SessionDep,
    principal: PrincipalDep,
    assistant_run_id: RunId,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    """List a run's events in order. Poll by `next_offset`, which is always a number."""
    run = get_run(session, assistant_run_id, organization_id=principal.organization_id)
    return page_of_events(session, run, limit=limit, offset=offset)


@router.get(
    "/assistant-runs/{assistant_run_id}/events/stream",
    operation_id="GetAssistantRunEventsSSE",
    response_class=StreamingResponse,
    responses=EVENT_STREAM | documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.RUNS)
async def stream_assistant_run_events(
    read: ReaderDep,
    principal: PrincipalDep,
    hub: HubDep,
    assistant_run_id: RunId,
    start: StartDep,
) -> Response:
    """Stream a run's events, from the first stored one to the last. `Last-Event-ID` resumes a stream."""
    return await stream(hub, read, principal, assistant_run_id, start, kind=RunKind.ASSISTANT)


@router.get("/events/{event_id}", response_model=EventView, responses=documented(NOT_FOUND))
def get_event(session: SessionDep, principal: PrincipalDep, event_id: EventId) -> Response:
    """Read one event."""
    event, kind = log.get_event(session, event_id, organization_id=principal.organization_id)
    return JsonResponse(dict.fromkeys(ID_FIELDS.values()) | shown(event, kind))


def page_of_events(session: Session, run: Run, *, limit: int, offset: int) -> Response:
    """A slice of the events of a run of either kind."""
    page = log.read(session, run.id, start=offset, limit=limit)
    count = len(page.events)
    return JsonResponse(
        {
            "events": [shown(event, run.kind) for event in page.events],
            "count": count,
            "total_count": max(page.total, offset + count) if count else page.total,
            "limit": limit,
            "offset": offset,
            "next_offset": offset + count,
        }
    )


async def stream(
    hub: StreamHub, read: Reader, principal: Principal, run_id: uuid.UUID, start: int, *, kind: RunKind
) -> Response:
    """The events of a run of either kind, as they come; a 204 where none can come any more.

    A standard EventSource opens a stream that has ended again, for ever, until it is told so.
    """
    owner = principal.organization_id
    if start == 0 and kind is RunKind.ASSISTANT and hub.newcomers.has(run_id, organization_id=owner):
        note(run_id=str(run_id))
    else:
        state = await hub.finder.find(run_id, organization_id=owner, kind=kind, read=read)
        if state.has_ended and start >= state.stored:
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=UNBUFFERED)
    events = hub.follow(run_id, start=start, principal=principal)
    return EventStream(events, encode=ENCODE[kind])
