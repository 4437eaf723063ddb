"""Messages of the dialect: each is one role of a stored message."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator

from shared.artifacts import artifact_text, decode_text
from shared.instants import rfc3339
from shared.models import JsonObject, Message, Run, Thread
from shared.threads.roles import Role, roles_of, text_of

USER: Final = Role.USER.value
ASSISTANT: Final = Role.ASSISTANT.value


class Block(BaseModel):
    """A part of a message."""

    response_type: str | None = None
    text: str | None = None


Content = str | list[Block]
"""A text, or blocks of which text is read."""


def text_in(content: Content) -> str:
    """The text of a message; that of several blocks, each from a line of its own on."""
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if block.text is not None)


SaidBy = Annotated[Role, BeforeValidator(lambda value: Role.USER if value == "human" else value)]
"""The role of a new message; some clients call the user `human`."""


class MessageCreate(BaseModel):
    """A new message. Of its content, text is stored."""

    role: SaidBy
    content: Content


class MessageUpdate(BaseModel):
    """The changes."""

    content: Content | None = None


def message_id(origin: uuid.UUID, role: str) -> uuid.UUID:
    """The id of one role of a message. `origin` is the message's run, or else the message."""
    return uuid.uuid5(origin, role)


def answer_of(run: Run, output: JsonObject, steps: Sequence[JsonObject], *, completed_at: str) -> JsonObject:
    """The message that a run has answered with, when it ended, and what it did on the way."""
    provenance = _Provenance(run.thread_id, run.organization_id, run.created_by, completed_at, completed_at)
    return _message(run.id, Role.ASSISTANT, artifact_text(output), provenance, steps=steps, parent=Role.USER)


def shown_role(
    thread: Thread, message: Message, role: Role, steps: Mapping[uuid.UUID, Sequence[JsonObject]]
) -> JsonObject:
    """One role of a stored message, as the dialect's message."""
    origin = origin_of(message)
    provenance = _Provenance(
        thread.id,
        thread.organization_id,
        message.created_by,
        rfc3339(message.created_at),
        rfc3339(message.updated_at),
    )
    text = decode_text(text_of(message, role))
    if role is Role.USER:
        return _message(origin, role, text, provenance)
    parent = Role.USER if Role.USER in roles_of(message) else None
    return _message(origin, role, text, provenance, steps=steps.get(origin, ()), parent=parent)


def text_block(text: str) -> JsonObject:
    return {"response_type": "text", "text": text}


def origin_of(message: Message) -> uuid.UUID:
    """The run that a message comes from, or the message itself."""
    try:
        return uuid.UUID(str(message.meta.get("run_id")))
    except ValueError:  # it comes from no run of ours
        return message.id


@dataclass(frozen=True, slots=True)
class _Provenance:
    """The thread, the organization, the author and the times of a message."""

    thread_id: uuid.UUID | None
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: str
    updated_at: str


def _message(
    origin: uuid.UUID,
    role: Role,
    text: str,
    provenance: _Provenance,
    *,
    steps: Sequence[JsonObject] = (),
    parent: Role | None = None,
) -> JsonObject:
    is_answer = role is Role.ASSISTANT
    block = text_block(text) | ({"id": "1"} if is_answer else {})
    extra: dict[str, Any] = {"display_properties": {"skip_render": False, "is_async": False}}
    return {
        "id": message_id(origin, role.value),
        "tenant_id": str(provenance.organization_id),
        "created_by": provenance.created_by,
        "created_by_username": None,
        "created_on": provenance.created_at,
        "updated_at": provenance.updated_at,
        "thread_id": provenance.thread_id,
        "assistant": None,
        "parent_message_id": None if parent is None else message_id(origin, parent.value),
        "role": role.value,
        "content": [block],
        "mentions": None,
        "document_ids": None,
        "additional_properties": extra if is_answer else None,
        "context": None,
        "step_history": list(steps),
        "message_state": None,
    }
