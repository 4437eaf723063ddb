"""Messages, as a view of our exchanges: each is two, what was asked and what was answered."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.artifacts import artifact_text, decode_text
from shared.instants import rfc3339
from shared.models import JsonObject, Message, Run, Thread
from shared.threads.sides import Side, said, sides_of

USER: Final = Side.USER.value
ASSISTANT: Final = Side.ASSISTANT.value


def message_id(origin: uuid.UUID, role: str) -> uuid.UUID:
    """The id of one side of an exchange: of the run it comes from, or else of the exchange itself."""
    return uuid.uuid5(origin, role)


def answer_of(run: Run, output: JsonObject, steps: Sequence[JsonObject], *, completed_at: str) -> JsonObject:
    """The message that a run has answered with, when it ended, and what it did on the way."""
    place = _Place(run.thread_id, run.organization_id, run.created_by, completed_at, completed_at)
    return _message(run.id, Side.ASSISTANT, artifact_text(output), place, steps=steps, parent=Side.USER)


def messages_of(
    thread: Thread, exchange: Message, steps: Mapping[uuid.UUID, Sequence[JsonObject]]
) -> list[JsonObject]:
    """The messages of an exchange, the question first.

    Args:
        steps: of runs on the thread.
    """
    return [shown_side(thread, exchange, side, steps) for side in sides_of(exchange)]


def shown_side(
    thread: Thread, exchange: Message, side: Side, steps: Mapping[uuid.UUID, Sequence[JsonObject]]
) -> JsonObject:
    """One side of an exchange as a message."""
    origin = origin_of(exchange)
    place = _Place(
        thread.id,
        thread.organization_id,
        exchange.created_by,
        rfc3339(exchange.created_at),
        rfc3339(exchange.updated_at),
    )
    text = decode_text(said(exchange, side))
    if side is Side.USER:
        return _message(origin, side, text, place)
    parent = Side.USER if Side.USER in sides_of(exchange) else None
    return _message(origin, side, text, place, steps=steps.get(origin, ()), parent=parent)


def text_block(text: str) -> JsonObject:
    return {"response_type": "text", "text": text}


def origin_of(exchange: Message) -> uuid.UUID:
    """The run that an exchange comes from, or the exchange itself."""
    try:
        return uuid.UUID(str(exchange.meta.get("run_id")))
    except ValueError:  # it comes from no run of ours
        return exchange.id


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message stands, and since when."""

    thread_id: uuid.UUID | None
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: str
    updated_at: str


def _message(
    origin: uuid.UUID,
    side: Side,
    text: str,
    place: _Place,
    *,
    steps: Sequence[JsonObject] = (),
    parent: Side | None = None,
) -> JsonObject:
    is_answer = side is Side.ASSISTANT
    block = text_block(text) | ({"id": "1"} if is_answer else {})
    extra: dict[str, Any] = {"display_properties": {"skip_render": False, "is_async": False}}
    return {
        "id": message_id(origin, side.value),
        "tenant_id": str(place.organization_id),
        "created_by": place.created_by,
        "created_by_username": None,
        "created_on": place.created_at,
        "updated_at": place.updated_at,
        "thread_id": place.thread_id,
        "assistant": None,
        "parent_message_id": None if parent is None else message_id(origin, parent.value),
        "role": side.value,
        "content": [block],
        "mentions": None,
        "document_ids": None,
        "additional_properties": extra if is_answer else None,
        "context": None,
        "step_history": list(steps),
        "message_state": None,
    }
