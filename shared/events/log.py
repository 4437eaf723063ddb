"""The event log: append under the fence, read in order from a number on."""

import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, cast

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Date,
    Double,
    Integer,
    Row,
    Select,
    String,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import Session

from shared.errors import EventNotFoundError, RunNotFoundError
from shared.events.ids import day_of_event_id, new_event_id
from shared.events.text import storable
from shared.fence import given_attempts, held_by, reserve
from shared.lifecycle import TERMINAL, RunKind, is_last
from shared.models import EARLIER_DAY, RUN_EVENTS, RUNS, JsonObject, Origin, Run, RunEvent


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event before it is stored."""

    origin: Origin
    type: str
    payload: JsonObject
    timestamp: float = field(default_factory=time.time)  # epoch seconds, when it happened
    event_id: uuid.UUID = field(default_factory=new_event_id)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log holds it: it is published and replayed in this form."""

    run_id: uuid.UUID
    seq: int
    event_id: uuid.UUID
    origin: Origin
    type: str
    payload: JsonObject
    timestamp: float
    created_at: datetime
    attempt: int | None = None  # its attempt, 0 before the first; None if an earlier release stored the event
    size: int | None = field(default=None, compare=False)  # bytes of the payload, if known

    @property
    def is_last(self) -> bool:
        """Whether the run's log ends with this event."""
        return is_last(self.type, self.origin)


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of one run's log."""

    events: list[StoredEvent]
    total: int  # events in the log when the slice was read
    is_closed: bool  # whether the run has ended: then `total` is final


def day_of_run() -> ColumnElement[date]:
    """The day of a row of `runs`, as SQL: that of the partition in which its events are."""
    return func.timezone("UTC", Run.created_at).cast(Date)


def is_of(run_id: uuid.UUID, *, created_at: datetime | None = None) -> ColumnElement[bool]:
    """Whether an event is of a run, as SQL: PostgreSQL looks only where the run's events can be.

    Args:
        created_at: of the run. With it, the statement is planned for those partitions alone, so that its cost
            does not depend on the number of days.
    """
    if created_at is not None:
        day = created_at.astimezone(UTC).date()
        return and_(RunEvent.run_id == run_id, RunEvent.run_day.in_([EARLIER_DAY, day]))
    found = select(day_of_run()).where(Run.id == run_id).scalar_subquery()
    return and_(RunEvent.run_id == run_id, RunEvent.run_day == any_(array([literal(EARLIER_DAY), found])))


def is_of_row() -> ColumnElement[bool]:
    """As `is_of`, for a join with `runs`."""
    return and_(
        RunEvent.run_id == Run.id, RunEvent.run_day == any_(array([literal(EARLIER_DAY), day_of_run()]))
    )


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
    """Append events of an attempt that holds the run.

    Raises:
        LeaseLostError: another attempt holds the run, or the run has ended; nothing was written.
    """
    if not events:
        return []
    rows = [_row(run_id, event, attempt) for event in events]
    size = sum(row["size"] for row in rows)
    first_seq = reserve(
        session, run_id, attempt=attempt, counter=Run.event_count, count=len(rows), stored_bytes=size
    )
    return _insert(session, rows, first_seq=first_seq)


def insert_at(
    session: Session,
    run_id: uuid.UUID,
    events: Sequence[NewEvent],
    *,
    first_seq: int,
    attempt: int | None = None,
) -> list[StoredEvent]:
    """Insert events at numbers that the caller has reserved in this transaction.

    Returns:
        The rows as PostgreSQL holds them, in order of `seq`. PostgreSQL normalises JSON, so only these
        have the bytes that a later reader gets.
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
    day = select(day_of_run()).where(Run.id == rows[0]["run_id"]).scalar_subquery()
    new = insert(RUN_EVENTS).values(run_day=day).returning(*_COLUMNS)
    stored = session.connection().execute(new, numbered)
    return sorted((_stored(row) for row in stored), key=lambda event: event.seq)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one attempt, to be stored together."""

    run_id: uuid.UUID
    attempt: int
    events: Sequence[NewEvent]
    rows: list[dict[str, Any]] = field(init=False, repr=False)
    size: int = field(init=False)  # bytes of the payloads

    def __post_init__(self) -> None:
        rows = [_row(self.run_id, event, self.attempt) for event in self.events]
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "size", sum(row["size"] for row in rows))

    def numbered(self, first_seq: int) -> Iterator[dict[str, Any]]:
        """Its rows, with the numbers that were reserved for them."""
        return ({**row, "seq": seq} for seq, row in enumerate(self.rows, first_seq))


_given = given_attempts(Column("count", Integer), Column("size", BigInteger))

_RESERVE: Final = (
    update(RUNS)
    .where(RUNS.c.id == _given.c.run_id, held_by(_given.c.attempt))
    .values(
        event_count=Run.event_count + _given.c.count,
        stored_bytes=Run.stored_bytes + _given.c.size,
        updated_at=Run.updated_at,
    )
    .returning(Run.id, Run.event_count - _given.c.count)
)
"""Numbers for the batches of several attempts, as `shared.fence.reserve`; a refused one gets no row."""


def reserve_together(session: Session, batches: Sequence[Batch]) -> dict[uuid.UUID, int]:
    """Reserve the numbers of batches, each of another run.

    Returns:
        The first number of each run's; none of a run that the attempt does not hold, or that is locked.
    """
    given = [
        {"run_id": one.run_id, "attempt": one.attempt, "count": len(one.rows), "size": one.size}
        for one in batches
    ]
    rows = session.connection().execute(_RESERVE, {"given": given})
    return {run_id: first_seq for run_id, first_seq in rows}  # noqa: C416  # dict() of rows is not typed


_new = (
    func.jsonb_to_recordset(bindparam("events", type_=JSONB))
    .table_valued(
        Column("run_id", Uuid),
        Column("seq", Integer),
        Column("event_id", Uuid),
        Column("origin", Text),
        Column("type", Text),
        Column("payload", JSONB),
        Column("timestamp", Double),
        Column("attempt", Integer),
        Column("size", Integer),
    )
    .render_derived(name="new", with_types=True)
)

_INSERT: Final = (
    insert(RUN_EVENTS)
    .from_select(
        [*(column.key for column in _new.c), RunEvent.run_day.key],
        select(_new, day_of_run()).join_from(_new, RUNS, RUNS.c.id == _new.c.run_id),
    )
    .returning(*_COLUMNS)
)
"""Events of several runs in one statement, whose text is the same for any number of them."""


def insert_together(session: Session, batches: Sequence[tuple[Batch, int]]) -> list[list[StoredEvent]]:
    """Insert batches at the numbers that were reserved for them in this transaction.

    Returns:
        As `insert_at`: of each run.
    """
    rows = [row for batch, first_seq in batches for row in batch.numbered(first_seq)]
    if not rows:
        return []
    stored = map(_stored, session.connection().execute(_INSERT, {"events": rows}))
    ordered = sorted(stored, key=lambda event: (event.run_id, event.seq))
    return [list(events) for _, events in groupby(ordered, key=attrgetter("run_id"))]


def find_stored(session: Session, run_id: uuid.UUID, events: Sequence[NewEvent]) -> list[StoredEvent]:
    """Return the events that are stored already, in order: all or none of a batch.

    A writer asks this after its connection broke in a commit.
    """
    query = (
        select(*_COLUMNS)
        .where(is_of(run_id), RunEvent.event_id.in_([event.event_id for event in events]))
        .order_by(RunEvent.seq)
    )
    return [_stored(row) for row in session.execute(query)]


def size_of_event() -> ColumnElement[int]:
    """The bytes of an event's payload, as SQL; measured for an event of an earlier release."""
    return func.coalesce(RunEvent.size, func.octet_length(RunEvent.payload.cast(String)))


PAGE_BYTES: Final = 1_048_576
"""The most bytes of payload in one slice of a log; a larger event is a slice alone."""


_COUNTERS: Final = select(Run.event_count, Run.status, Run.created_at).where(Run.id == bindparam("run_id"))


def _slice() -> Select[*tuple[Any, ...]]:
    size = size_of_event()
    before = func.sum(size).over(order_by=RunEvent.seq, rows=(None, 0)) - size
    days = RunEvent.run_day.in_([EARLIER_DAY, bindparam("day", type_=Date)])  # as `is_of` has them
    found = (
        select(*_COLUMNS, before.label("before"))
        .where(RunEvent.run_id == bindparam("run_id"), days, RunEvent.seq >= bindparam("start"))
        .order_by(RunEvent.seq)
        .limit(bindparam("limit", type_=Integer))
        .subquery()
    )
    columns = [found.c[column.key] for column in _COLUMNS]
    return select(*columns).where(found.c.before < bindparam("most")).order_by(found.c.seq)


_SLICE: Final = _slice()


def read(session: Session, run_id: uuid.UUID, *, start: int, limit: int, most: int = PAGE_BYTES) -> Page:
    """Read events in order from the number `start` on: at most `limit`, and `most` bytes, but at least one.

    The run's counters are read first. So events committed in between make the slice longer; they never
    make the run look ended too early.

    Raises:
        RunNotFoundError: the run has been deleted.
    """
    connection = session.connection()
    counted = connection.execute(_COUNTERS, {"run_id": run_id}).one_or_none()
    if counted is None:
        raise RunNotFoundError(run_id)
    total, status, created_at = counted
    day = created_at.astimezone(UTC).date()
    wanted = {"run_id": run_id, "day": day, "start": start, "limit": limit, "most": most}
    events = [_stored(row) for row in connection.execute(_SLICE, wanted)]
    return Page(events, total, is_closed=status in TERMINAL)


def of_types(session: Session, run_ids: Collection[uuid.UUID], types: Collection[str]) -> list[StoredEvent]:
    """Read the events of some types of several runs, each run's in order."""
    if not run_ids:
        return []
    query = (
        select(*_COLUMNS)
        .join_from(Run, RunEvent, is_of_row())
        .where(Run.id.in_(run_ids), RunEvent.type.in_(types))
        .order_by(RunEvent.run_id, RunEvent.seq)
    )
    return [_stored(row) for row in session.execute(query)]


ONE_DAY: Final = timedelta(days=1)


def get_event(
    session: Session, event_id: uuid.UUID, *, organization_id: uuid.UUID
) -> tuple[StoredEvent, RunKind]:
    """Read one event of an organization's runs, with the kind of its run.

    Its id says when it was made, and most runs were created on that day or the one before. Events of other
    runs, and those whose ids do not say, are looked for in the index of every day.

    Raises:
        EventNotFoundError: there is none, or it is another organization's.
    """
    query = (
        select(*_COLUMNS, Run.structure_id)
        .join(Run, is_of_row())
        .where(RunEvent.event_id == event_id, Run.organization_id == organization_id)
    )
    row = None
    if (day := day_of_event_id(event_id)) is not None:
        days = [EARLIER_DAY, day - ONE_DAY, day, day + ONE_DAY]  # tomorrow's if the clocks differ
        row = session.execute(query.where(RunEvent.run_day.in_(days))).one_or_none()
    if row is None:
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
        run_id: the run that all of them must be of, numbered without holes.

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
            attempt=item.get("attempt"),  # a worker of an earlier release leaves it out
        )
        for item in orjson.loads(message)
    ]
    if run_id is not None:
        for seq, event in enumerate(events, events[0].seq if events else 0):
            if (event.run_id, event.seq) != (run_id, seq) or not isinstance(event.payload, dict):
                raise ValueError("These are not the events of one run, in their order.")
    return events
