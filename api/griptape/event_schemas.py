"""The shapes of events (contract: griptape §7)."""

import uuid
from typing import Any

import orjson
from pydantic import BaseModel

from shared.events.log import StoredEvent
from shared.instants import rfc3339


class _EventFields(BaseModel):
    event_id: uuid.UUID
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


class EventPage(BaseModel):
    """A slice of a run's events; `next_offset` is where the next slice begins."""

    events: list[RunEventView]
    count: int
    total_count: int
    limit: int
    offset: int
    next_offset: int


def run_event(event: StoredEvent) -> dict[str, Any]:
    """An event as every list and every stream shows it."""
    return {
        "event_id": event.event_id,
        "assistant_run_id": event.run_id,
        "created_at": rfc3339(event.created_at),
        "origin": event.origin,
        "payload": event.payload,
        "timestamp": event.timestamp,
        "type": event.type,
    }


def encode(event: StoredEvent) -> bytes:
    """An event for a stream: of the same event, always the same bytes."""
    return orjson.dumps(run_event(event))
