"""What a structure run's code reports: events, spans, lines of output."""

from http import HTTPStatus
from typing import Annotated, Any

from annotated_types import Ge
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from api.dependencies import DispatcherDep, HubDep, ListsDep, PrincipalDep, QuotasDep, ReaderDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE, of_domain
from api.griptape.errors import documented, render
from api.griptape.event_schemas import StructureEventPage
from api.griptape.events import (
    DEFAULT_LIMIT,
    EVENT_STREAM,
    MAX_LIMIT,
    Limit,
    Offset,
    StartDep,
    page_of_events,
    stream,
)
from api.griptape.fields import at_most, whole
from api.griptape.pagination import PageDep
from api.griptape.report_route import EventsRoute, ReportRoute
from api.griptape.structure_run_schemas import Log, ReportsBody, SpanList, Spans, reports_of
from api.key_scopes import takes
from api.requests.path_ids import StructureRunId
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from shared.errors import OutputTooLargeError
from shared.keys.principal import Principal
from shared.lifecycle import RunKind
from shared.models import KeyScope, Run
from shared.runs.queries import get_run
from shared.structures import reports

LineLimit = Annotated[Annotated[int, Ge(1), at_most(MAX_LIMIT)] | None, whole(default=None), Query()]
"""None is all: clients of this route know of no second page."""

router = APIRouter(prefix="/structure-runs/{structure_run_id}", route_class=KeyedRoute)
_events = APIRouter(route_class=EventsRoute)
_spans_in = APIRouter(route_class=ReportRoute)


def _run(session: SessionDep, principal: Principal, run_id: StructureRunId) -> Run:
    return get_run(session, run_id, organization_id=principal.organization_id, kind=RunKind.STRUCTURE)


@router.get(
    "/events",
    operation_id="ListEvents",
    tags=["Events"],
    response_model=StructureEventPage,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.OWN)
def list_events(
    session: SessionDep,
    principal: PrincipalDep,
    structure_run_id: StructureRunId,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    """List a run's events in order. Poll by `next_offset`, which is always a number."""
    return page_of_events(session, _run(session, principal, structure_run_id), limit=limit, offset=offset)


@_events.post(
    "/events",
    operation_id="CreateEvents",
    tags=["Events"],
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@open_to_runs(RunAccess.REPORT)
@takes(KeyScope.RUN)
def create_events(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    quotas: QuotasDep,
    *,
    structure_run_id: StructureRunId,
    body: ReportsBody,
) -> Response:
    """Report one event, an array or a batch. An event is stored once per `id` in its payload.

    An event that is too large is left out and named in the answer; the others are stored.
    """
    quotas.require_room_for_bytes(session, principal.organization_id, is_report=True)
    given = reports_of(body)
    refusal = reports.post_events(
        session, dispatcher, principal, structure_run_id, given, largest=quotas.output
    )
    if refusal is not None:
        return render(of_domain(OutputTooLargeError(refusal)))
    return Response(status_code=HTTPStatus.ACCEPTED)


@router.get(
    "/events/stream",
    operation_id="GetStructureRunEventsSSE",
    tags=["Events"],
    response_class=StreamingResponse,
    responses=EVENT_STREAM | documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.OWN)
async def stream_structure_run_events(
    read: ReaderDep,
    principal: PrincipalDep,
    hub: HubDep,
    structure_run_id: StructureRunId,
    start: StartDep,
) -> Response:
    """Stream a run's events, from the first stored one to the last. `Last-Event-ID` resumes a stream."""
    return await stream(hub, read, principal, structure_run_id, start, kind=RunKind.STRUCTURE)


@router.get(
    "/logs",
    operation_id="ListStructureRunLogs",
    tags=["Structure Runs"],
    response_model=Log,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.OWN)
def list_structure_run_logs(
    session: SessionDep,
    principal: PrincipalDep,
    structure_run_id: StructureRunId,
    limit: LineLimit = None,
    offset: Offset = 0,
) -> dict[str, Any]:
    """List the output lines of a run, also while it runs. With `limit`, list a page of them."""
    run = _run(session, principal, structure_run_id)
    page = reports.read_lines(session, run, offset=offset, limit=limit)
    return {"logs": page.lines, "total_count": page.total, "next_offset": offset + len(page.lines)}


@_spans_in.post(
    "/spans",
    operation_id="CreateSpans",
    tags=["Spans"],
    response_class=Response,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@open_to_runs(RunAccess.REPORT)
@takes(KeyScope.RUN)
def create_spans(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    structure_run_id: StructureRunId,
    body: Spans,
) -> Response:
    """Report spans. A span is stored once per `span_id`."""
    quotas.require_room_for_bytes(session, principal.organization_id, is_report=True)
    spans = [span.model_dump(mode="json") for span in body]
    reports.post_spans(session, principal, structure_run_id, spans)
    return Response(status_code=HTTPStatus.OK)


@router.get(
    "/spans",
    operation_id="ListSpans",
    tags=["Spans"],
    response_model=SpanList,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.OWN)
def list_spans(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    structure_run_id: StructureRunId,
    page: PageDep,
) -> Response:
    """List a run's spans in order of arrival."""
    run = _run(session, principal, structure_run_id)
    found = reports.page_of_spans(session, run.id, offset=page.offset, limit=page.size, is_light=True)
    has_more = page.offset + len(found.rows) < found.total
    more = {"page": page.number + 1 if has_more else None}
    return lists.answer(
        session, principal, found.rows, lambda _, rows: [row.span for row in rows], key="spans", more=more
    )


router.include_router(_events)
router.include_router(_spans_in)
