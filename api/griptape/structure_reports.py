"""What a structure run's code reports: events, spans, lines of output (contract: griptape §8)."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from annotated_types import Ge
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.dependencies import DispatcherDep, HubDep, ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.errors import TOO_LARGE, of_domain
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
from api.path_ids import StructureRunId
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from shared.errors import OutputTooLargeError
from shared.keys.principal import Principal
from shared.models import JsonObject, Run, RunSpan
from shared.runs.lifecycle import RunKind
from shared.runs.queries import get_run
from shared.structures import reports

LineLimit = Annotated[Annotated[int, Ge(1), at_most(MAX_LIMIT)] | None, whole(default=None), Query()]
"""None is all: clients of this route know of no second page (contract: griptape §1.7)."""

router = APIRouter(prefix="/structure-runs/{structure_run_id}", route_class=KeyedRoute)
_events = APIRouter(route_class=EventsRoute)
_spans_in = APIRouter(route_class=ReportRoute)

_BAD, _UNKNOWN, _CONFLICT = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT


def _run(session: SessionDep, principal: Principal, run_id: StructureRunId) -> Run:
    return get_run(session, run_id, organization_id=principal.organization_id, kind=RunKind.STRUCTURE)


@router.get(
    "/events",
    operation_id="ListEvents",
    tags=["Events"],
    response_model=StructureEventPage,
    responses=documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.OWN)
def list_events(
    session: SessionDep,
    principal: PrincipalDep,
    structure_run_id: StructureRunId,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
) -> Response:
    """List a run's events in order; a poller asks on from `next_offset`, which is always a number."""
    return page_of_events(session, _run(session, principal, structure_run_id), limit=limit, offset=offset)


@_events.post(
    "/events",
    operation_id="CreateEvents",
    tags=["Events"],
    status_code=HTTPStatus.ACCEPTED,
    response_class=Response,
    responses=documented(_BAD, _UNKNOWN, _CONFLICT, TOO_LARGE),
)
@open_to_runs(RunAccess.REPORT)
def create_events(
    session: SessionDep,
    principal: PrincipalDep,
    dispatcher: DispatcherDep,
    quotas: QuotasDep,
    *,
    structure_run_id: StructureRunId,
    body: ReportsBody,
) -> Response:
    """Report a batch, an array or a single event; what is sent again, by its payload's `id`, counts once.

    What is too large is left out, and the answer says so; the rest of the batch is kept nevertheless.
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
    responses=EVENT_STREAM | documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.OWN)
def stream_structure_run_events(
    session: SessionDep,
    principal: PrincipalDep,
    hub: HubDep,
    structure_run_id: StructureRunId,
    start: StartDep,
) -> Response:
    """Stream a run's events, stored ones first, and close after the last; `Last-Event-ID` resumes."""
    return stream(hub, _run(session, principal, structure_run_id), start, principal)


@router.get(
    "/logs",
    operation_id="ListStructureRunLogs",
    tags=["Structure Runs"],
    response_model=Log,
    responses=documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.OWN)
def list_structure_run_logs(
    session: SessionDep,
    principal: PrincipalDep,
    structure_run_id: StructureRunId,
    limit: LineLimit = None,
    offset: Offset = 0,
) -> dict[str, Any]:
    """List lines of a run's output, also while it runs: all that are kept, or with `limit` a page."""
    run = _run(session, principal, structure_run_id)
    page = reports.read_lines(session, run, offset=offset, limit=limit)
    return {"logs": page.lines, "total_count": page.total, "next_offset": offset + len(page.lines)}


@_spans_in.post(
    "/spans",
    operation_id="CreateSpans",
    tags=["Spans"],
    response_class=Response,
    responses=documented(_BAD, _UNKNOWN, _CONFLICT, TOO_LARGE),
)
@open_to_runs(RunAccess.REPORT)
def create_spans(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    structure_run_id: StructureRunId,
    body: Spans,
) -> Response:
    """Report spans; what is sent again, by its `span_id`, counts once."""
    quotas.require_room_for_bytes(session, principal.organization_id, is_report=True)
    spans = [span.model_dump(mode="json") for span in body]
    reports.post_spans(session, principal, structure_run_id, spans)
    return Response(status_code=HTTPStatus.OK)


@router.get(
    "/spans",
    operation_id="ListSpans",
    tags=["Spans"],
    response_model=SpanList,
    responses=documented(_BAD, _UNKNOWN),
)
@open_to_runs(RunAccess.OWN)
def list_spans(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    structure_run_id: StructureRunId,
    page: PageDep,
) -> Response:
    """List a run's spans in the order they came in."""
    run = _run(session, principal, structure_run_id)
    found = reports.page_of_spans(session, run.id, offset=page.offset, limit=page.size, is_light=True)
    has_more = page.offset + len(found.rows) < found.total
    more = {"page": page.number + 1 if has_more else None}
    return lists.answer(session, principal, found.rows, _spans, key="spans", more=more)


def _spans(_session: Session, rows: Sequence[RunSpan]) -> list[JsonObject]:
    return [row.span for row in rows]


router.include_router(_events)
router.include_router(_spans_in)
