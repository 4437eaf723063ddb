"""The event log: append under the fence, read in order after a cursor."""

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

import orjson
from sqlalchemy import ColumnElement, Row, String, func, insert, select, update
from sqlalchemy.orm import Session

from shared.errors import EventNotFoundError, LeaseLostError
from shared.events.text import storable
from shared.models import LAST_TYPES, JsonObject, Origin, Run, RunEvent
from shared.runs.lifecycle import HELD, TERMINAL, RunKind


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is still to be stored."""

    origin: Origin
    type: str
    payload: JsonObject
    timestamp: float = field(default_factory=time.time)  # epoch seconds, when it happened
    event_id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log holds it; what is published and what is replayed."""

    run_id: uuid.UUID
    seq: int
    event_id: uuid.UUID
    origin: Origin
    type: str
    payload: JsonObject
    timestamp: float
    created_at: datetime
    attempt: int | None = None  # that it belongs to, 0 before the first; None if an earlier release stored it
    size: int | None = field(default=None, compare=False)  # bytes of the payload, where that is known

    @property
    def is_last(self) -> bool:
        """Whether the run's log ends with this event."""
        return self.type in LAST_TYPES and self.origin == Origin.SYSTEM


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of one run's log."""

    events: list[StoredEvent]
    total: int  # events in the log when the slice was read
    is_closed: bool  # whether the run has ended, so that `total` is final


_COLUMNS = (
    RunEvent.run_id,
    RunEvent.seq,
    RunEvent.event_id,
    RunEvent.origin,
    RunEvent.type,
    RunEvent.payload,
    RunEvent.timestamp,
    RunEvent.created_at,
    RunEvent.attempt,
    RunEvent.size,
)


def _stored(row: Row[*tuple[Any, ...]]) -> StoredEvent:
    return StoredEvent(*row)


def append(
    session: Session, run_id: uuid.UUID, events: Sequence[NewEvent], *, attempt: int
) -> list[StoredEvent]:
    """Append what an attempt has to say, if the run is still its own.

    The statement that fences also reserves the numbers, and holds the run's row until the
    commit, so a hole is impossible and appends to one run happen one after another.

    Raises:
        LeaseLostError: another attempt has the run, or it has ended; nothing was written.
    """
    if not events:
        return []
    rows = [_row(run_id, event, attempt) for event in events]
    reserve = (
        update(Run)
        .where(Run.id == run_id, Run.attempt == attempt, Run.status.in_(HELD))
        .values(
            event_count=Run.event_count + len(rows),
            stored_bytes=Run.stored_bytes + sum(row["size"] for row in rows),
            updated_at=Run.updated_at,
        )
        .returning(Run.event_count)
        .execution_options(synchronize_session=False)
    )
    count = session.scalar(reserve)
    if count is None:
        raise LeaseLostError(status=session.scalar(select(Run.status).where(Run.id == run_id)))
    return _insert(session, rows, first_seq=count - len(rows))


def insert_at(
    session: Session,
    run_id: uuid.UUID,
    events: Sequence[NewEvent],
    *,
    first_seq: int,
    attempt: int | None = None,
) -> list[StoredEvent]:
    """Insert events of an attempt at numbers the caller has reserved in this transaction.

    Returns:
        The rows as PostgreSQL holds them, in order of `seq`: JSON is normalised on the way
        in, so only these are the same bytes that a later reader will get.
    """
    return _insert(session, [_row(run_id, event, attempt) for event in events], first_seq=first_seq)


def _row(run_id: uuid.UUID, event: NewEvent, attempt: int | None) -> dict[str, Any]:
    payload = storable(event.payload)
    return {
        "run_id": run_id,
        "event_id": event.event_id,
        "origin": event.origin,
        "type": event.type,
        "payload": payload,
        "timestamp": event.timestamp,
        "attempt": attempt,
        "size": len(orjson.dumps(payload)),
    }


def _insert(session: Session, rows: Sequence[dict[str, Any]], *, first_seq: int) -> list[StoredEvent]:
    numbered = [{**row, "seq": seq} for seq, row in enumerate(rows, first_seq)]
    stored = session.execute(insert(RunEvent).returning(*_COLUMNS), numbered)
    return sorted((_stored(row) for row in stored), key=lambda event: event.seq)


def find_stored(session: Session, run_id: uuid.UUID, events: Sequence[NewEvent]) -> list[StoredEvent]:
    """Return those of the events that are stored already, in order: all or none of a batch.

    For a writer whose connection broke in a commit, and who cannot know whether it went through.
    """
    query = (
        select(*_COLUMNS)
        .where(RunEvent.run_id == run_id, RunEvent.event_id.in_([event.event_id for event in events]))
        .order_by(RunEvent.seq)
    )
    return [_stored(row) for row in session.execute(query)]


def size_of_event() -> ColumnElement[int]:
    """The bytes of an event's payload, as SQL; of an older event they have to be measured."""
    return func.coalesce(RunEvent.size, func.octet_length(RunEvent.payload.cast(String)))


PAGE_BYTES: Final = 1_048_576
"""Bytes of payload that one slice of a log has at the most; a larger event is a slice alone."""


def read(session: Session, run_id: uuid.UUID, *, after: int, limit: int, most: int = PAGE_BYTES) -> Page:
    """Read up to `limit` events, of `most` bytes, whose `seq` is at least `after`, in order; one in any case.

    The run's counters are read first: events committed in between make the slice longer,
    never the run look ended too early.
    """
    total, status = session.execute(select(Run.event_count, Run.status).where(Run.id == run_id)).one()
    size = size_of_event()
    slice_ = (
        select(*_COLUMNS, (func.sum(size).over(order_by=RunEvent.seq, rows=(None, 0)) - size).label("before"))
        .where(RunEvent.run_id == run_id, RunEvent.seq >= after)
        .order_by(RunEvent.seq)
        .limit(limit)
        .subquery()
    )
    columns = [slice_.c[column.key] for column in _COLUMNS]
    query = select(*columns).where(slice_.c.before < most).order_by(slice_.c.seq)
    events = [_stored(row) for row in session.execute(query)]
    return Page(events, total, is_closed=status in TERMINAL)


def of_types(session: Session, run_ids: Collection[uuid.UUID], types: Collection[str]) -> list[StoredEvent]:
    """Read the events of some types of several runs, each run's in order."""
    if not run_ids:
        return []
    query = (
        select(*_COLUMNS)
        .where(RunEvent.run_id.in_(run_ids), RunEvent.type.in_(types))
        .order_by(RunEvent.run_id, RunEvent.seq)
    )
    return [_stored(row) for row in session.execute(query)]


def get_event(
    session: Session, event_id: uuid.UUID, *, organization_id: uuid.UUID
) -> tuple[StoredEvent, RunKind]:
    """Read one event of an organization's runs, and which kind of run it is of.

    Raises:
        EventNotFoundError: there is none, or it is another organization's.
    """
    query = (
        select(*_COLUMNS, Run.structure_id)
        .join(Run, Run.id == RunEvent.run_id)
        .where(RunEvent.event_id == event_id, Run.organization_id == organization_id)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        raise EventNotFoundError(event_id)
    *fields, structure_id = cast("tuple[Any, ...]", row)
    return StoredEvent(*fields), RunKind.ASSISTANT if structure_id is None else RunKind.STRUCTURE


def encode(events: Sequence[StoredEvent]) -> bytes:
    """Events as one message for a channel."""
    return orjson.dumps(
        [
            {
                "run_id": event.run_id,
                "seq": event.seq,
                "event_id": event.event_id,
                "origin": event.origin,
                "type": event.type,
                "payload": event.payload,
                "timestamp": event.timestamp,
                "created_at": event.created_at,
                "attempt": event.attempt,
            }
            for event in events
        ]
    )


def decode(message: bytes, *, run_id: uuid.UUID | None = None) -> list[StoredEvent]:
    """Events from a channel's message.

    Args:
        run_id: whose they have to be, numbered without holes.

    Raises:
        ValueError, TypeError, KeyError: it holds anything else.
    """
    events = [
        StoredEvent(
            run_id=uuid.UUID(item["run_id"]),
            seq=item["seq"],
            event_id=uuid.UUID(item["event_id"]),
            origin=Origin(item["origin"]),
            type=item["type"],
            payload=item["payload"],
            timestamp=item["timestamp"],
            created_at=datetime.fromisoformat(item["created_at"]),
            attempt=item.get("attempt"),  # a worker of an earlier release does not tell it
        )
        for item in orjson.loads(message)
    ]
    if run_id is not None:
        for seq, event in enumerate(events, events[0].seq if events else 0):
            if (event.run_id, event.seq) != (run_id, seq) or not isinstance(event.payload, dict):
                raise ValueError("These are not the events of one run, in their order.")
    return events
