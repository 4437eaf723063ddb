"""One run: why it is where it is, its time, its transcript, its events, and what can be done to it."""

import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.console import run_events
from api.console.actions import CancelsDep, SubmitsDep
from api.console.pages import page
from api.console.route import ConsoleRoute, FormDep, text_of, to
from api.console.text import lines_of, parts_of, survives_form, visible
from api.console.waterfall import tokens_of, waterfall_of
from api.dependencies import HubDep, PrincipalDep, ReaderDep, SessionDep
from api.key_scopes import takes
from api.requests.path_ids import EventId, RunId
from api.streaming.responses import JsonResponse
from api.streaming.sse import EventStream
from shared.errors import RunNotFoundError
from shared.events import log
from shared.events.log import StoredEvent
from shared.keys.principal import Principal
from shared.lifecycle import ACTIVE, EventType, RunKind, RunStatus
from shared.models import LIMITS, RESOURCE_LISTS, KeyScope, Run
from shared.runs import queries
from shared.runs.summaries import (
    ahead_of,
    attempts,
    before_on_thread,
    outline,
    summaries,
)
from shared.structures import reports

router = APIRouter(route_class=ConsoleRoute)

CHUNKS: Final = frozenset({EventType.TEXT_CHUNK, "ActionChunkEvent", "ReasoningChunkEvent"})
"""What an outline leaves out: a run may have very many."""

MOST_MARKS: Final = 2000  # events that a drawing is made from
MOST_EVENTS: Final = 500  # of one answer
MOST_LINES: Final = 1000
MOST_COMPARED: Final = 300  # events
MOST_CHILDREN: Final = 200
LONGEST_PAYLOAD: Final = 50_000  # characters of an event's page
VOLATILE: Final = frozenset(
    {"id", "timestamp", "started_at", "completed_at", "structure_id", "task_id", "thread_id", "subtask_id"}
)
"""What differs between any two runs, and says nothing."""

SHOWN: Final = 400  # characters of an event
BEFORE_DIFFERENCE: Final = 100  # characters of them
_IDENTIFIERS: Final = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|\b1\d{9}\.\d+"
)
"""Ids and epoch seconds."""

MAX_NUMBER: Final = 2_147_483_647
Start = Annotated[int, Ge(0), Le(MAX_NUMBER), Query()]


def find_run(session: Session, principal: Principal, run_id: uuid.UUID) -> Run:
    """Return a run of either kind.

    Raises:
        RunNotFoundError: the principal's organization has none.
    """
    try:
        return queries.get_run(session, run_id, organization_id=principal.organization_id)
    except RunNotFoundError:
        return queries.get_run(
            session, run_id, organization_id=principal.organization_id, kind=RunKind.STRUCTURE
        )


@router.get("/runs/{run_id}")
def show_run(request: Request, session: SessionDep, principal: PrincipalDep, run_id: RunId) -> Response:
    """Show a run."""
    run = find_run(session, principal, run_id)
    (summary,) = summaries(session, [run.id], organization_id=principal.organization_id)
    marks = outline(session, run.id, without=CHUNKS, limit=MOST_MARKS)
    called = queries.called_by(session, run.id, is_light=True)[:MOST_CHILDREN]
    now = datetime.now(UTC)
    return page(
        request,
        "run.html",
        run=run,
        summary=summary,
        why=why(session, run),
        detail=run.status_detail or {},
        is_active=run.status in ACTIVE,
        is_live=run.status in ACTIVE or run.is_stopping,
        fall=waterfall_of(marks, summary, now=now.timestamp()),
        tokens=tokens_of(marks, begin=run.created_at.timestamp()),
        attempts=attempts(session, run.id),
        children=summaries(
            session, [child.id for child in called], organization_id=principal.organization_id
        ),
        output=_output_text(run),
        usage=run.usage or {},
        setup=setup_of(run),
        edited=_edited(run),
    )


def _edited(run: Run) -> str | None:
    """The input or the arguments of a run for a form; None if they would not come back as they are."""
    if run.kind is RunKind.ASSISTANT:
        text = run.input or ""
    else:
        text = "\n".join(run.args)
        if lines_of(text) != list(run.args):
            return None
    return text if survives_form(text) else None


def why(session: Session, run: Run) -> str:
    """Say in a sentence why a run is where it is."""
    detail = run.status_detail or {}
    message = str(detail.get("message") or "")
    if run.status is RunStatus.QUEUED:
        if run.waits_for_thread:
            holder = before_on_thread(session, run)
            return f"It waits for its thread, which the run {holder} has." if holder else message
        if run.dispatched_at is None:
            return "It waits for room in its tenant's share of the workers."
        ahead = ahead_of(session, run)
        again = f" {message}" if message and run.attempt else ""
        return f"It waits for a worker; {ahead} runs of the organization wait since before it.{again}"
    if run.status in ACTIVE:
        what = "prepares" if run.status is RunStatus.STARTING else "executes"
        return f"The worker {run.worker} {what} it, as attempt {run.attempt}."
    reason = str(detail.get("reason") or run.status)
    return f"{reason}: {message}" if message else reason


def _output_text(run: Run) -> str:
    if run.output is None:
        return ""
    if isinstance(run.output, dict) and isinstance(run.output.get("value"), str):
        return str(run.output["value"])
    return parts_of(run.output, LONGEST_PAYLOAD)


def setup_of(run: Run) -> dict[str, str]:
    """Return what a run was made with, by field, as text."""
    fields: dict[str, Any] = {
        "input": run.input,
        "args": run.args,
        "model": run.model,
        "stream": run.stream,
        "thread": str(run.thread_id) if run.thread_id else None,
        "deployment": str(run.deployment_id) if run.deployment_id else None,
        "llm_params": run.llm_params,
        "guardrails": run.guardrails,
        "additional_parameters": run.additional_parameters,
        "metadata": run.meta,
        **{name: [str(one) for one in getattr(run, name)] for name in RESOURCE_LISTS},
        **{name: None if getattr(run, name) is None else str(getattr(run, name)) for name in LIMITS},
    }
    return {
        name: value if isinstance(value, str) else parts_of(value, LONGEST_PAYLOAD)
        for name, value in fields.items()
        if value not in (None, [], {}, "")
    }


@router.get("/runs/{run_id}/events")
def list_events(session: SessionDep, principal: PrincipalDep, run_id: RunId, start: Start = 0) -> Response:
    """List events for the scripts of the page, as JSON."""
    run = find_run(session, principal, run_id)
    found = log.read(session, run.id, start=start, limit=MOST_EVENTS)
    return JsonResponse(
        {
            "events": [run_events.shown(event) for event in found.events],
            "next": start + len(found.events),
            "has_ended": found.is_closed and start + len(found.events) >= found.total,
            "is_behind": start + len(found.events) < found.total,
        }
    )


@router.get("/runs/{run_id}/events/stream")
async def stream_events(
    read: ReaderDep, principal: PrincipalDep, hub: HubDep, run_id: RunId, start: Start = 0
) -> Response:
    """Stream events for the scripts of the page."""

    def find(session: Session) -> Run:
        return find_run(session, principal, run_id)

    run = await read(find)
    return EventStream(hub.follow(run.id, start=start, principal=principal), encode=run_events.framed)


@router.get("/runs/{run_id}/log")
def list_lines(session: SessionDep, principal: PrincipalDep, run_id: RunId, start: Start = 0) -> Response:
    """List output lines of a program for the scripts of the page, as JSON."""
    run = find_run(session, principal, run_id)
    found = reports.read_lines(session, run, offset=start, limit=MOST_LINES)
    following = start + len(found.lines)
    return JsonResponse(
        {
            "lines": [visible(line[: run_events.LONGEST_TEXT]) for line in found.lines],
            "next": following,
            "has_ended": run.status not in ACTIVE and following >= found.total,
        }
    )


@router.get("/events/{event_id}")
def show_event(request: Request, session: SessionDep, principal: PrincipalDep, event_id: EventId) -> Response:
    """Show one event."""
    event, _ = log.get_event(session, event_id, organization_id=principal.organization_id)
    return page(request, "event.html", event=event, payload=parts_of(event.payload, LONGEST_PAYLOAD))


@router.get("/events/{event_id}/json")
def get_event(session: SessionDep, principal: PrincipalDep, event_id: EventId) -> Response:
    """Return one event as it is stored."""
    event, _ = log.get_event(session, event_id, organization_id=principal.organization_id)
    return JsonResponse(
        {
            "event_id": event.event_id,
            "run_id": event.run_id,
            "seq": event.seq,
            "attempt": event.attempt,
            "origin": event.origin,
            "type": event.type,
            "timestamp": event.timestamp,
            "payload": event.payload,
        }
    )


@router.post("/runs/{run_id}/cancel")
@takes(KeyScope.RUN)
def cancel_run(actions: CancelsDep, principal: PrincipalDep, form: FormDep, run_id: RunId) -> Response:
    """Cancel a run."""
    actions.cancel(principal, run_id, _kind(text_of(form, "kind")))
    return to(f"/runs/{run_id}")


@router.post("/runs/{run_id}/again")
@takes(KeyScope.RUN)
def run_again(actions: SubmitsDep, principal: PrincipalDep, form: FormDep, run_id: RunId) -> Response:
    """Submit a run with the same setup, or with another input."""
    kind = _kind(text_of(form, "kind"))
    is_edited = "input" in form
    edited = text_of(form, "input")
    new_id = actions.run_again(
        principal,
        run_id,
        kind,
        input_text=edited if is_edited and kind is RunKind.ASSISTANT else None,
        args=lines_of(edited) if is_edited and kind is RunKind.STRUCTURE else None,
    )
    return to(f"/runs/{new_id}")


@router.get("/runs/{run_id}/compare")
def compare_runs(
    request: Request,
    session: SessionDep,
    principal: PrincipalDep,
    run_id: RunId,
    other: Annotated[str, Query(alias="with")] = "",
) -> Response:
    """Show two runs side by side: what they were made with, and their events."""
    one = find_run(session, principal, run_id)
    second = find_run(session, principal, _other_id(other)) if other else one
    setups = setup_of(one), setup_of(second)
    names = list(dict.fromkeys([*setups[0], *setups[1]]))
    logs = [log.read(session, run.id, start=0, limit=MOST_COMPARED) for run in (one, second)]
    lines = [[_comparable(event) for event in found.events] for found in logs]
    cut = [len(found.events) for found in logs if len(found.events) < found.total]
    length = min([max(map(len, lines)), *cut])  # behind the end of what was read of a log nothing is known
    pairs = [(_at(lines[0], number), _at(lines[1], number)) for number in range(length)]
    first = next((number for number, (left, right) in enumerate(pairs) if left != right), None)
    rows = [(number, *_around_difference(left, right)) for number, (left, right) in enumerate(pairs)]
    return page(
        request,
        "compare.html",
        one=one,
        other=second,
        setups=[(name, setups[0].get(name, ""), setups[1].get(name, "")) for name in names],
        rows=rows,
        shown=SHOWN,
        first=first,
        is_whole=not cut,
    )


def _other_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        raise RunNotFoundError(text[:80]) from None


def _comparable(event: StoredEvent) -> str:
    payload = {name: value for name, value in event.payload.items() if name not in VOLATILE}
    text = _IDENTIFIERS.sub("#", orjson.dumps(payload).decode())  # the page of a log is bounded in bytes
    return f"{event.type} {text}"


def _around_difference(left: str, right: str) -> tuple[str, str]:
    """Cut two texts so that what is shown of them begins shortly before they differ."""
    if left == right or max(len(left), len(right)) <= SHOWN:
        return left, right
    least = min(len(left), len(right))
    same = next((at for at in range(least) if left[at] != right[at]), least)
    start = max(0, same - BEFORE_DIFFERENCE)
    lead = "…" if start else ""
    return lead + left[start:], lead + right[start:]


def _at(lines: list[str], number: int) -> str:
    return lines[number] if number < len(lines) else ""


def _kind(text: str) -> RunKind:
    return RunKind.STRUCTURE if text == RunKind.STRUCTURE else RunKind.ASSISTANT
