"""The shapes of events."""

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import orjson
from pydantic import BaseModel

from api.streaming.batch import Encode
from api.streaming.sse import frame
from shared.events.log import StoredEvent
from shared.instants import rfc3339
from shared.lifecycle import RunKind


class _EventFields(BaseModel):
    event_id: uuid.UUID
    attempt: int | None = None
    created_at: str
    origin: str
    payload: dict[str, Any]
    timestamp: float
    type: str


class RunEventView(_EventFields):
    """An event of a run."""

    assistant_run_id: uuid.UUID


class EventView(_EventFields):
    """An event of an assistant run or of a structure run; the other id is null."""

    assistant_run_id: uuid.UUID | None
    structure_run_id: uuid.UUID | None


class StructureEventView(_EventFields):
    """An event of a structure run."""

    structure_run_id: uuid.UUID


class _Slice(BaseModel):
    count: int
    total_count: int
    limit: int
    offset: int
    next_offset: int


class EventPage(_Slice):
    """A page of a run's events; the next page begins at `next_offset`."""

    events: list[RunEventView]


class StructureEventPage(_Slice):
    """A page of a structure run's events; the next page begins at `next_offset`."""

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


def _framed(kind: RunKind, event: StoredEvent) -> bytes:
    """An event for a stream: of the same event, always the same bytes."""
    return frame(event.seq, orjson.dumps(shown(event, kind)))


ENCODE: Final[Mapping[RunKind, Encode]] = {kind: partial(_framed, kind) for kind in RunKind}
"""The frames of the events of each kind of run."""
