"""The shapes of events (contract: griptape §7)."""

import uuid
from typing import Any, Final

import orjson
from pydantic import BaseModel

from shared.events.log import StoredEvent
from shared.instants import rfc3339
from shared.runs.lifecycle import RunKind


class _EventFields(BaseModel):
    event_id: uuid.UUID
    attempt: int | None = None
    created_at: str
    origin: str
    payload: dict[str, Any]
    timestamp: float
    type: str


class RunEventView(_EventFields):
    """Something that happened in a run."""

    assistant_run_id: uuid.UUID


class EventView(_EventFields):
    """An event of a run of either kind; the id of the other kind is null."""

    assistant_run_id: uuid.UUID | None
    structure_run_id: uuid.UUID | None


class StructureEventView(_EventFields):
    """Something that happened in a structure run."""

    structure_run_id: uuid.UUID


class _Slice(BaseModel):
    count: int
    total_count: int
    limit: int
    offset: int
    next_offset: int


class EventPage(_Slice):
    """A slice of a run's events; `next_offset` is where the next slice begins."""

    events: list[RunEventView]


class StructureEventPage(_Slice):
    """A slice of a structure run's events; `next_offset` is where the next slice begins."""

    events: list[StructureEventView]


ID_FIELDS: Final = {RunKind.ASSISTANT: "assistant_run_id", RunKind.STRUCTURE: "structure_run_id"}
"""What an event calls its run."""


def shown(event: StoredEvent, kind: RunKind) -> dict[str, Any]:
    """An event as every list and every stream shows it."""
    return {
        "event_id": event.event_id,
        ID_FIELDS[kind]: event.run_id,
        "attempt": event.attempt,
        "created_at": rfc3339(event.created_at),
        "origin": event.origin,
        "payload": event.payload,
        "timestamp": event.timestamp,
        "type": event.type,
    }


def encode(event: StoredEvent, *, kind: RunKind) -> bytes:
    """An event for a stream: of the same event, always the same bytes."""
    return orjson.dumps(shown(event, kind))
