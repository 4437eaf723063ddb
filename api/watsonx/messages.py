"""Messages, as a view of our exchanges: each is two, what was asked and what was answered."""

import uuid
from typing import Any, Final

from shared.artifacts import decode_text
from shared.instants import rfc3339
from shared.models import JsonObject, Message, Run

USER: Final = "user"
ASSISTANT: Final = "assistant"


def message_id(origin: uuid.UUID, role: str) -> uuid.UUID:
    """The id of one side of an exchange: of the run it comes from, or else of the exchange itself."""
    return uuid.uuid5(origin, role)


def answer_of(run: Run, output: JsonObject, *, completed_at: str) -> JsonObject:
    """The message that a run has answered with, when it ended."""
    return _message(
        run.id,
        ASSISTANT,
        text_of(output),
        thread_id=run.thread_id,
        organization_id=run.organization_id,
        created_by=run.created_by,
        created_at=completed_at,
    )


def messages_of(exchange: Message, *, organization_id: uuid.UUID) -> list[JsonObject]:
    """The two messages of an exchange, the question first."""
    origin = _origin(exchange)
    return [
        _message(
            origin,
            role,
            decode_text(said),
            thread_id=exchange.thread_id,
            organization_id=organization_id,
            created_by=exchange.created_by,
            created_at=rfc3339(exchange.created_at),
        )
        for role, said in ((USER, exchange.input), (ASSISTANT, exchange.output))
    ]


def text_of(output: JsonObject) -> str:
    """What an artifact says, as text."""
    value = output.get("value")
    return value if isinstance(value, str) else str(value)


def text_block(text: str) -> JsonObject:
    return {"response_type": "text", "text": text}


def _origin(exchange: Message) -> uuid.UUID:
    try:
        return uuid.UUID(str(exchange.meta.get("run_id")))
    except ValueError:  # it comes from no run of ours
        return exchange.id


def _message(
    origin: uuid.UUID,
    role: str,
    text: str,
    *,
    thread_id: uuid.UUID | None,
    organization_id: uuid.UUID,
    created_by: uuid.UUID,
    created_at: str,
) -> JsonObject:
    is_answer = role == ASSISTANT
    block = text_block(text) | ({"id": "1"} if is_answer else {})
    extra: dict[str, Any] = {"display_properties": {"skip_render": False, "is_async": False}}
    return {
        "id": message_id(origin, role),
        "tenant_id": str(organization_id),
        "created_by": created_by,
        "created_by_username": None,
        "created_on": created_at,
        "updated_at": created_at,
        "thread_id": thread_id,
        "assistant": None,
        "parent_message_id": message_id(origin, USER) if is_answer else None,
        "role": role,
        "content": [block],
        "mentions": None,
        "document_ids": None,
        "additional_properties": extra if is_answer else None,
        "context": None,
        "step_history": [],
        "message_state": None,
    }
