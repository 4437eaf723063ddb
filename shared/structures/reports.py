"""What the code of a structure run reports: events, spans, and lines of output."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from shared.dispatch import Dispatcher
from shared.errors import ConflictError, InvalidRequestError, LeaseLostError
from shared.events import log
from shared.events.log import NewEvent, StoredEvent
from shared.events.text import storable, storable_text
from shared.keys.principal import Principal
from shared.models import FINISH, JsonObject, Origin, Run, RunLogLine, RunSpan
from shared.runs.lifecycle import HELD, RunStatus
from shared.sizes import without_large
from shared.structures.answers import find_answer
from shared.structures.runs import Completion, end_elsewhere, lock_reported

MAX_SPANS: Final = 10_000
"""Spans that are kept of one run."""

_ERROR: Final = "ErrorArtifact"


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
) -> None:
    """Store what a run's code reports; what is stored already, as after a retry, is left out.

    The framework's Finish event sets the run's output; that of the run's own structure, as opposed to
    one that runs inside it, ends a run that is executed elsewhere.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: the run is not STARTING or RUNNING; or as `lock_reported`.
    """
    reports = [replace(report, payload=storable(report.payload)) for report in reports]  # before the lock
    run = lock_reported(session, principal, run_id)
    fresh = _fresh(session, run, reports)
    if not fresh:
        return
    if run.status not in HELD:
        raise ConflictError(f"The run is {run.status}: it takes no events.")
    stored = log.append(session, run.id, fresh, attempt=run.attempt)
    dispatcher.announce(session, stored)
    if any(event.type == FINISH for event in stored):
        _take_output(session, dispatcher, run, stored)


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
        has_failed = isinstance(output, dict) and output.get("type") == _ERROR
        message = str(output.get("value")) if has_failed else "Its Finish event came in."
        end_elsewhere(session, dispatcher, run, Completion(succeeded=not has_failed, message=message))


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
