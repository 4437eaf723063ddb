"""What the code of a structure run reports: events, spans, and lines of output."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from shared.artifacts import ERROR
from shared.dispatch import Dispatcher
from shared.errors import ConflictError, InvalidRequestError, LeaseLostError
from shared.events import log
from shared.events.log import NewEvent, StoredEvent
from shared.events.text import storable, storable_text
from shared.keys.principal import Principal
from shared.models import FINISH, JsonObject, Origin, Run, RunLogLine, RunSpan
from shared.runs.lifecycle import HELD, Reason, RunStatus
from shared.sizes import without_large
from shared.structures.answers import REPORT_REFUSED, RefusedReport, find_answer, find_refused
from shared.structures.outputs import output_size, size_of, stand_in, too_large, why_too_large
from shared.structures.runs import Completion, end_elsewhere, lock_reported

MAX_SPANS: Final = 10_000
"""Spans that are kept of one run."""

MAX_REFUSED: Final = 10
"""Reports of one attempt whose refusal is told in its log."""


@dataclass(frozen=True, slots=True)
class Report:
    """An event as a run's own code reports it; in one attempt, the same `payload["id"]` is the same."""

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
    """Store what a run's code reports; what is stored already, as after a retry, is left out.

    Of an output that is larger than `largest` bytes the Finish event says so in its place; any other
    event that is larger is left out, and the log tells of it.

    The framework's Finish event sets the run's output; that of the run's own structure, as opposed to
    one that runs inside it, ends a run that is executed elsewhere.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: the run is not STARTING or RUNNING; or as `lock_reported`.

    Returns:
        What of it was too large, for people; None if nothing was.
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
    if any(event.type == FINISH for event in stored):
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
    """Tell in a run's log that a report of its code was refused unread; of a run that has ended, nothing.

    Args:
        has_events: whether it was one of events, so that the run's output may have been among them.

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
    """The reports without what is too large in them, and what is to be said of that."""
    taken, refusals = [], []
    for report in reports:
        payload = report.payload
        if report.type == FINISH:
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
    """The platform's events of refused reports, each once, and only so many in an attempt."""
    if not refused:
        return []
    told = find_refused(session, run.id)
    fresh = [one for one in dict.fromkeys(refused) if one not in told]
    return [
        NewEvent(Origin.SYSTEM, REPORT_REFUSED, asdict(one))
        for one in fresh[: max(0, MAX_REFUSED - len(told))]
    ]


def _fresh(session: Session, run: Run, reports: Sequence[Report]) -> list[NewEvent]:
    """Those that are not stored, each once, where it came first."""
    events: dict[uuid.UUID, NewEvent] = {}
    for event in (_event(run, report) for report in reports):
        events.setdefault(event.event_id, event)
    known = {event.event_id for event in log.find_stored(session, run.id, list(events.values()))}
    return [event for event in events.values() if event.event_id not in known]


def _event(run: Run, report: Report) -> NewEvent:
    """The event of a report; a program begun again may give its events the ids that it gave them before."""
    identifier = report.payload.get("id")
    is_named = isinstance(identifier, str) and identifier
    name = f"{run.attempt}:{report.type}:{identifier}"
    event_id = uuid.uuid5(run.id, name) if is_named else uuid.uuid4()
    return NewEvent(Origin.USER, report.type, report.payload, report.timestamp, event_id)


def _take_output(session: Session, dispatcher: Dispatcher, run: Run, stored: Sequence[StoredEvent]) -> None:
    answer = find_answer(session, run.id)
    event = next((event for event in stored if answer and event.seq == answer.seq), None)
    if answer is None or event is None:  # something inside has finished, after the run's own structure
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
    """Keep spans of a run's tracing, each once by its `span_id`; also after its end, when tracers flush.

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
    """A slice of a run's spans, in the order they came in."""

    rows: Sequence[RunSpan]
    total: int

    @property
    def spans(self) -> list[JsonObject]:
        """The spans as they were given."""
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
    """Append lines of output, each with its stream, if the run is still the attempt's own.

    Raises:
        LeaseLostError: another attempt has the run, or it has ended; nothing was written.
    """
    if not lines:
        return
    reserve = (
        update(Run)
        .where(Run.id == run_id, Run.attempt == attempt, Run.status.in_(HELD))
        .values(log_count=Run.log_count + len(lines), updated_at=Run.updated_at)
        .returning(Run.log_count)
        .execution_options(synchronize_session=False)
    )
    count = session.scalar(reserve)
    if count is None:
        raise LeaseLostError(status=session.scalar(select(Run.status).where(Run.id == run_id)))
    rows: list[dict[str, Any]] = [
        {"run_id": run_id, "seq": seq, "stream": stream, "text": storable_text(text)}
        for seq, (stream, text) in enumerate(lines, start=count - len(lines))
    ]
    session.execute(insert(RunLogLine), rows)


@dataclass(frozen=True, slots=True)
class LogPage:
    """A slice of a run's output."""

    lines: Sequence[str]
    total: int


def read_lines(session: Session, run: Run, *, offset: int, limit: int | None) -> LogPage:
    """Return lines of a run's output from a number on; all of them if there is no limit."""
    query = (
        select(RunLogLine.text)
        .where(RunLogLine.run_id == run.id, RunLogLine.seq >= offset)
        .order_by(RunLogLine.seq)
        .limit(limit)
    )
    return LogPage(session.scalars(query).all(), run.log_count)
