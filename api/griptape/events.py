"""Events of assistant runs: listed by offset, streamed, or one by one (contract: griptape §1.8, §7)."""

from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final

from annotated_types import Ge, Le, Lt
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.dependencies import HubDep, PrincipalDep, SessionDep
from api.griptape.errors import documented
from api.griptape.event_schemas import ID_FIELDS, EventPage, EventView, encode, shown
from api.griptape.fields import MAX_NUMBER, at_most, whole
from api.path_ids import EventId, RunId
from api.responses import UNBUFFERED, JsonResponse
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from api.sse import EventStream
from api.streams import StreamHub
from shared.events import log
from shared.keys.principal import Principal
from shared.models import Run
from shared.runs.lifecycle import TERMINAL
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
    204: {"description": "The run has ended, and there is no event from here on: do not ask again."},
}

_BAD, _UNKNOWN = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND


@router.get(
    "/assistant-runs/{assistant_run_id}/events",
    response_model=EventPage,
    responses=documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.RUNS)
def list_assistant_events(
    session: SessionDep,
    principal: PrincipalDep,
    assistant_run_id: RunId,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    """List a run's events in order; a poller asks on from `next_offset`, which is always a number."""
    run = get_run(session, assistant_run_id, organization_id=principal.organization_id)
    return page_of_events(session, run, limit=limit, offset=offset)


@router.get(
    "/assistant-runs/{assistant_run_id}/events/stream",
    operation_id="GetAssistantRunEventsSSE",
    response_class=StreamingResponse,
    responses=EVENT_STREAM | documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.RUNS)
def stream_assistant_run_events(
    session: SessionDep,
    principal: PrincipalDep,
    hub: HubDep,
    assistant_run_id: RunId,
    start: StartDep,
) -> Response:
    """Stream a run's events, stored ones first, and close after the last; `Last-Event-ID` resumes."""
    run = get_run(session, assistant_run_id, organization_id=principal.organization_id)
    return stream(hub, run, start, principal)


@router.get("/events/{event_id}", response_model=EventView, responses=documented(_UNKNOWN))
def get_event(session: SessionDep, principal: PrincipalDep, event_id: EventId) -> Response:
    """Read one event."""
    event, kind = log.get_event(session, event_id, organization_id=principal.organization_id)
    return JsonResponse(dict.fromkeys(ID_FIELDS.values()) | shown(event, kind))


def page_of_events(session: Session, run: Run, *, limit: int, offset: int) -> Response:
    """A slice of the events of a run of either kind."""
    page = log.read(session, run.id, after=offset, limit=limit)
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


def stream(hub: StreamHub, run: Run, start: int, principal: Principal) -> Response:
    """The events of a run of either kind, as they come; a 204 where none can come any more.

    A standard EventSource opens a stream that has ended again, for ever, until it is told so.
    """
    if run.status in TERMINAL and start >= run.event_count:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=UNBUFFERED)
    events = hub.follow(run.id, after=start, principal=principal)
    return EventStream(events, encode=partial(encode, kind=run.kind))
