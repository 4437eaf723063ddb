"""Acceptance: new runs of assistants, their metadata and their first events in one statement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.events.log import NewEvent, StoredEvent
from shared.events.text import storable
from shared.models import LIMITS, RESOURCE_LISTS, Run
from shared.runs.transition_events import queued

ROW_BYTES: Final = 512
"""Bytes of a run without content."""

_CONTENT: Final = ("input", "args", "env_vars", "llm_params", "guardrails", "additional_parameters", "meta")


def size_of(run: Run) -> int:
    """The bytes that a new run takes of its organization's quota, without its events."""
    content = [value for value in (getattr(run, column) for column in _CONTENT) if value]
    return ROW_BYTES + len(orjson.dumps(content))


def first_event(run: Run, *, name: str) -> NewEvent:
    """The first event of a run.

    Args:
        name: the present name of the assistant or the structure.
    """
    event = queued(run)
    event.payload["name"] = name
    if run.thread_id is not None:
        event.payload["thread_id"] = str(run.thread_id)
    return event


@dataclass(frozen=True, slots=True)
class Candidate:
    """A new run of an assistant that has no thread, and the state of the assistant that it was made from."""

    run: Run
    name: str  # of the assistant
    version: str  # of the assistant's row: its `xmin`


_TYPES: Final = {
    "id": "uuid",
    "organization_id": "uuid",
    "assistant_id": "uuid",
    "created_by": "uuid",
    "input": "text",
    "args": "jsonb",
    "stream": "boolean",
    "model": "text",
    "llm_params": "jsonb",
    "guardrails": "jsonb",
    "additional_parameters": "jsonb",
    "meta": "jsonb",
    "traceparent": "text",
    "stored_bytes": "bigint",
    **dict.fromkeys(RESOURCE_LISTS, "uuid[]"),
    "max_duration": "interval",
    "queue_ttl": "interval",
    "max_attempts": "integer",
}
"""The attributes of a run that its caller and its assistant decide, with their types in PostgreSQL."""

_RECORD: Final = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
_VALUES: Final = ", ".join(f"wanted.{name}" for name in _TYPES)
_COLUMNS: Final = ", ".join("metadata" if name == "meta" else name for name in _TYPES)

INSERT: Final = text(f"""
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(CAST(:runs AS jsonb)) AS wanted(
        {_RECORD}, version text, event_id uuid, type text, payload jsonb, happened_at float8, size integer)
), organization AS MATERIALIZED (
    SELECT id FROM organizations WHERE id = ANY(ARRAY(SELECT DISTINCT organization_id FROM wanted))
    FOR KEY SHARE SKIP LOCKED
), assistant AS MATERIALIZED (
    SELECT assistants.id FROM assistants
    JOIN (SELECT DISTINCT organization_id, assistant_id, version FROM wanted) AS named
        ON named.assistant_id = assistants.id AND named.organization_id = assistants.organization_id
    WHERE assistants.xmin = CAST(named.version AS xid) AND assistants.deleted_at IS NULL
        AND assistants.organization_id IN (SELECT id FROM organization)
    FOR KEY SHARE OF assistants SKIP LOCKED
), creator AS MATERIALIZED (
    SELECT id FROM users WHERE id = ANY(ARRAY(SELECT DISTINCT created_by FROM wanted))
    FOR KEY SHARE SKIP LOCKED
), run AS (
    INSERT INTO runs ({_COLUMNS}, status, event_count, queued_at, dispatched_at)
    SELECT {_VALUES}, 'QUEUED', 1, now(), CASE WHEN :waits_for_share THEN NULL ELSE now() END
    FROM wanted
    WHERE assistant_id IN (SELECT id FROM assistant) AND created_by IN (SELECT id FROM creator)
    RETURNING id, created_at
), noted AS (
    INSERT INTO run_metadata (run_id, key, value, organization_id, subject_id, kind, created_at)
    SELECT id, pair.key, pair.value, organization_id, assistant_id, 'assistant', created_at
    FROM run JOIN wanted USING (id) CROSS JOIN jsonb_each_text(wanted.meta) AS pair
), event AS (
    INSERT INTO run_events
        (run_id, seq, event_id, origin, type, payload, "timestamp", attempt, size, run_day)
    SELECT id, 0, event_id, 'SYSTEM', type, payload, happened_at, 0, size,
        (created_at AT TIME ZONE 'UTC')::date
    FROM run JOIN wanted USING (id)
    RETURNING run_id, payload, created_at
)
SELECT id, run.created_at, event.payload AS payload, event.created_at AS told_at
FROM run JOIN event ON event.run_id = id
""")  # noqa: S608  # made of the names above alone


def insert(session: Session, candidates: Sequence[Candidate], *, waits_for_share: bool) -> list[StoredEvent]:
    """Insert the runs that nothing stands in the way of; return their first events.

    Left out are runs whose organization, assistant or creator another transaction is deleting or has
    deleted, and runs whose assistant is not in the given state any more. So the statement waits for no
    lock, and a run that is left out holds up no other.

    The organization is locked, then the assistant, then the user, as `shared.db.Lock` has it. The inserted
    runs get their times as attributes.

    Args:
        waits_for_share: the runs are sent when their tenant's share of the workers has room.
    """
    events = [first_event(one.run, name=one.name) for one in candidates]
    rows = []
    for one, event in zip(candidates, events, strict=True):
        one.run.stored_bytes = size_of(one.run)
        payload = storable(event.payload)
        rows.append(
            {
                **_given(one.run),
                "version": one.version,
                "event_id": event.event_id,
                "type": event.type,
                "payload": payload,
                "happened_at": event.timestamp,
                "size": len(orjson.dumps(payload)),
            }
        )
    arguments = {"runs": orjson.dumps(rows).decode(), "waits_for_share": waits_for_share}
    inserted = {row.id: row for row in session.execute(INSERT, arguments)}
    return list(_told(zip(candidates, events, rows, strict=True), inserted, waits_for_share=waits_for_share))


def _given(run: Run) -> dict[str, Any]:
    values = {name: getattr(run, name) for name in _TYPES}
    for name in LIMITS:
        if isinstance(limit := values[name], timedelta):
            values[name] = f"{limit.total_seconds():f} seconds"
    return values


def _told(
    candidates: Iterable[tuple[Candidate, NewEvent, dict[str, Any]]],
    inserted: dict[Any, Any],
    *,
    waits_for_share: bool,
) -> Iterable[StoredEvent]:
    """Complete the inserted runs, and yield their events as they are stored."""
    for one, event, row in candidates:
        run, stored = one.run, inserted.get(one.run.id)
        if stored is None:
            continue
        run.created_at = run.updated_at = run.queued_at = stored.created_at
        run.dispatched_at = None if waits_for_share else stored.created_at
        yield StoredEvent(
            run.id,
            0,
            event.event_id,
            event.origin,
            event.type,
            stored.payload,
            event.timestamp,
            stored.told_at,
            attempt=0,
            size=row["size"],
        )
