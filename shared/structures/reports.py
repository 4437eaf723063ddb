"""Reports of structure runs' code: events, spans, and lines of output."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from shared.artifacts import ERROR, output_size, size_of, stand_in, too_large, why_too_large
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import ConflictError, InvalidRequestError
from shared.events import log
from shared.events.ids import new_event_id
from shared.events.log import NewEvent, StoredEvent
from shared.events.text import storable, storable_text
from shared.fence import reserve
from shared.keys.principal import Principal
from shared.lifecycle import HELD, EventType, Reason, RunStatus
from shared.models import JsonObject, Origin, Run, RunLogLine, RunSpan
from shared.rows.sizes import without_large
from shared.structures.answers import RefusedReport, find_answer, find_refused
from shared.structures.runs import Completion, end_elsewhere, lock_reported

MAX_SPANS: Final = 10_000
"""The most spans that are stored for one run."""

MAX_REFUSED: Final = 10
"""The most events of refused reports in one attempt."""


@dataclass(frozen=True, slots=True)
class Report:
    """An event that a run's code reports; in one attempt, an equal `payload["id"]` means the same event."""

    type: str
    payload: JsonObject = field(default_factory=dict)
    timestamp: float = field(default_factory=time.time)  # epoch seconds


def post_events(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    run_id: uuid.UUID,
    reports: Sequence[Report],
    *,
    largest: int,
) -> str | None:
    """Store events that a run's code reports, except those that are stored already (after a retry).

    In a Finish event, a message replaces an output larger than `largest` bytes. Any other larger event is
    refused; an event of the platform in the log names it.

    The framework's Finish event sets the run's output. The Finish event of the run's own structure, not of
    one that runs inside it, ends an external run.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: the run is not STARTING or RUNNING; or as `lock_reported`.

    Returns:
        Which part was too large, for people; None if none was.
    """
    reports = [replace(report, payload=storable(report.payload)) for report in reports]  # before the lock
    reports, refusals = _moderate(reports, largest)
    run = lock_reported(session, principal, run_id)
    fresh = _fresh(session, run, reports)
    if (fresh or refusals) and run.status not in HELD:
        raise ConflictError(f"The run is {run.status}: it takes no events.")
    fresh += _tellable(session, run, [RefusedReport(message) for message in refusals])
    if not fresh:
        return refusals[0] if refusals else None
    stored = log.append(session, run.id, fresh, attempt=run.attempt)
    dispatcher.announce(session, stored)
    if any(event.type == EventType.FINISH for event in stored):
        _take_output(session, dispatcher, run, stored)
    return refusals[0] if refusals else None


def note_refused(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    run_id: uuid.UUID,
    message: str,
    *,
    has_events: bool,
) -> None:
    """Append to a held run's log that a report of its code was refused unread.

    Args:
        has_events: whether the report was one of events, which may have held the run's output.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: as `lock_reported`.
    """
    run = lock_reported(session, principal, run_id)
    if run.status not in HELD:
        return
    events = _tellable(session, run, [RefusedReport(message, may_hold_output=has_events)])
    if events:
        dispatcher.announce(session, log.append(session, run.id, events, attempt=run.attempt))


def _moderate(reports: Sequence[Report], largest: int) -> tuple[list[Report], list[str]]:
    """The reports without their too large parts, and the messages about those parts."""
    taken, refusals = [], []
    for report in reports:
        payload = report.payload
        if report.type == EventType.FINISH:
            size = output_size(payload.get("output_task_output"))
            if size > largest:
                refusals.append(too_large("The output", size, largest))
                without = {"output_task_input": None, "output_task_output": stand_in(refusals[-1])}
                payload = {**payload, **without}
        elif (size := size_of(payload)) > largest:
            refusals.append(too_large(f"An event of the type {report.type}", size, largest))
            continue
        taken.append(replace(report, payload=payload))
    return taken, refusals


def _tellable(session: Session, run: Run, refused: Sequence[RefusedReport]) -> list[NewEvent]:
    """The platform's events of refused reports: each once, at most `MAX_REFUSED` in an attempt."""
    if not refused:
        return []
    told = find_refused(session, run.id)
    fresh = [one for one in dict.fromkeys(refused) if one not in told]
    return [
        NewEvent(Origin.SYSTEM, EventType.REPORT_REFUSED, asdict(one))
        for one in fresh[: max(0, MAX_REFUSED - len(told))]
    ]


def _fresh(session: Session, run: Run, reports: Sequence[Report]) -> list[NewEvent]:
    """The events that are not stored yet, each once, in order of their first report."""
    events: dict[uuid.UUID, NewEvent] = {}
    for report in reports:
        identifier = report.payload.get("id")
        is_named = isinstance(identifier, str) and identifier
        # The id of an event includes the attempt: a program may reuse its ids in the next one.
        name = f"{run.attempt}:{report.type}:{identifier}"
        event_id = uuid.uuid5(run.id, name) if is_named else new_event_id()
        event = NewEvent(Origin.USER, report.type, report.payload, report.timestamp, event_id)
        events.setdefault(event_id, event)
    known = {event.event_id for event in log.find_stored(session, run.id, list(events.values()))}
    return [event for event in events.values() if event.event_id not in known]


def _take_output(session: Session, dispatcher: Dispatcher, run: Run, stored: Sequence[StoredEvent]) -> None:
    answer = find_answer(session, run.id)
    event = next((event for event in stored if answer and event.seq == answer.seq), None)
    if answer is None or event is None:  # an inner structure has finished, after the run's own
        return
    output: Any = event.payload.get("output_task_output")
    values = {"output": output, "output_at": event.timestamp}
    session.execute(
        update(Run).where(Run.id == run.id).values(values).execution_options(synchronize_session=False)
    )
    if answer.is_final and run.is_external and run.status is RunStatus.RUNNING:
        has_failed = isinstance(output, dict) and output.get("type") == ERROR
        message = str(output.get("value")) if has_failed else "Its Finish event came in."
        reason = Reason.OUTPUT_TOO_LARGE if why_too_large(output) else None
        completion = Completion(succeeded=not has_failed, message=message, reason=reason)
        end_elsewhere(session, dispatcher, run, completion)


def post_spans(
    session: Session, principal: Principal, run_id: uuid.UUID, spans: Sequence[JsonObject]
) -> None:
    """Store spans of a run's tracing, each `span_id` once; tracers flush after the run's end too.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: the run was cancelled; or as `lock_reported`.
        InvalidRequestError: there would be more than `MAX_SPANS`.
    """
    given: dict[str, JsonObject] = {}
    for span in spans:
        given.setdefault(storable_text(span["span_id"]), storable(span))
    run = lock_reported(session, principal, run_id)
    if run.status is RunStatus.CANCELLED:
        raise ConflictError("The run is CANCELLED: it takes no spans.")
    known = select(RunSpan.span_id).where(RunSpan.run_id == run.id, RunSpan.span_id.in_(given))
    fresh = given.keys() - set(session.scalars(known))
    if not fresh:
        return
    count = session.scalar(select(func.count()).select_from(RunSpan).where(RunSpan.run_id == run.id)) or 0
    if count + len(fresh) > MAX_SPANS:
        raise InvalidRequestError(f"A run has {MAX_SPANS} spans at the most; this one has {count}.")
    rows = [
        {"run_id": run.id, "span_id": span_id, "span": span}
        for span_id, span in given.items()
        if span_id in fresh
    ]
    session.execute(insert(RunSpan), rows)
    run.stored_bytes = Run.stored_bytes + sum(len(orjson.dumps(row["span"])) for row in rows)


@dataclass(frozen=True, slots=True)
class SpanPage:
    """A slice of a run's spans, in the order of their arrival."""

    rows: Sequence[RunSpan]
    total: int

    @property
    def spans(self) -> list[JsonObject]:
        """The spans as they were posted."""
        return [row.span for row in self.rows]


def page_of_spans(
    session: Session, run_id: uuid.UUID, *, offset: int, limit: int, is_light: bool = False
) -> SpanPage:
    """Return a run's spans.

    Args:
        is_light: leave large values unloaded.
    """
    total = session.scalar(select(func.count()).select_from(RunSpan).where(RunSpan.run_id == run_id)) or 0
    query = (
        select(RunSpan)
        .options(*without_large(RunSpan, when=is_light))
        .where(RunSpan.run_id == run_id)
        .order_by(RunSpan.id)
        .offset(offset)
        .limit(limit)
    )
    return SpanPage(session.scalars(query).all(), total)


def append_lines(
    session: Session, run_id: uuid.UUID, lines: Sequence[tuple[str, str]], *, attempt: int
) -> None:
    """Append lines of output, each with its stream, for an attempt that holds the run.

    Raises:
        LeaseLostError: another attempt holds the run, or the run has ended; nothing was written.
    """
    if not lines:
        return
    first_seq = reserve(session, run_id, attempt=attempt, counter=Run.log_count, count=len(lines))
    rows: list[dict[str, Any]] = [
        {"run_id": run_id, "seq": seq, "stream": stream, "text": storable_text(text)}
        for seq, (stream, text) in enumerate(lines, first_seq)
    ]
    session.execute(insert(RunLogLine), rows)


@dataclass(frozen=True, slots=True)
class LogPage:
    """A slice of a run's output."""

    lines: Sequence[str]
    total: int


def read_lines(session: Session, run: Run, *, offset: int, limit: int | None) -> LogPage:
    """Return lines of a run's output from the number `offset` on, at most `limit`."""
    query = (
        select(RunLogLine.text)
        .where(RunLogLine.run_id == run.id, RunLogLine.seq >= offset)
        .order_by(RunLogLine.seq)
        .limit(limit)
    )
    return LogPage(session.scalars(query).all(), run.log_count)
