"""Use cases of threads and messages: create, change, replace, delete, append."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.dispatch.dispatcher import Dispatcher
from shared.keys.principal import Principal
from shared.models import JsonObject, Message, Thread
from shared.rows import metadata
from shared.rows import single as rows
from shared.threads import turns as admission
from shared.threads.queries import get_message, get_thread


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An exchange before it is stored."""

    input: str
    output: str
    meta: JsonObject = field(default_factory=dict)


def create(
    session: Session,
    principal: Principal,
    fields: Mapping[str, Any],
    messages: Sequence[NewMessage] = (),
) -> Thread:
    """Create a thread from `name`, `alias` and `meta`, with its first messages.

    Raises:
        ConflictError: another thread of the organization has that alias.
    """
    thread = Thread(
        id=uuid.uuid4(),
        organization_id=principal.organization_id,
        created_by=principal.user_id,
        **fields,
    )
    session.add(thread)
    rows.flush_alias(session, thread)
    _insert(session, thread.id, messages, principal.user_id, first_index=0)
    session.refresh(thread)
    metadata.note(session, thread)
    return thread


def change(
    session: Session,
    principal: Principal,
    thread_id: uuid.UUID,
    fields: Mapping[str, Any],
    messages: Sequence[NewMessage] | None = None,
) -> Thread:
    """Set the given fields of a thread; `messages`, if given, replace all its messages.

    Raises:
        ThreadNotFoundError: there is no such thread in the principal's organization.
        ConflictError: another thread of the organization has that alias.
    """
    thread = get_thread(session, thread_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    rows.set_fields(thread, {**fields, "updated_at": func.now()})
    rows.flush_alias(session, thread)
    if messages is not None:
        admission.lock_thread(session, thread_id)
        session.execute(sql_delete(Message).where(Message.thread_id == thread_id))
        _insert(session, thread_id, messages, principal.user_id, first_index=0)
    session.refresh(thread)
    if "meta" in fields:
        metadata.note_anew(session, thread)
    return thread


def delete(session: Session, dispatcher: Dispatcher, principal: Principal, thread_id: uuid.UUID) -> None:
    """Delete a thread and its messages. Its runs stay; waiting ones continue without it.

    Raises:
        ThreadNotFoundError: there is no such thread in the principal's organization.
        ContendedError: runs came and went on it, faster than it could be had.
    """
    get_thread(session, thread_id, organization_id=principal.organization_id)
    admission.release_all(session, dispatcher, thread_id)
    thread = get_thread(session, thread_id, organization_id=principal.organization_id, lock=Lock.REMOVAL)
    session.delete(thread)


def append(session: Session, thread_id: uuid.UUID, message: NewMessage, *, created_by: uuid.UUID) -> Message:
    """Add a message after the last one of a thread."""
    admission.lock_thread(session, thread_id)
    last = session.scalar(select(func.max(Message.index)).where(Message.thread_id == thread_id))
    (stored,) = _insert(
        session, thread_id, [message], created_by, first_index=0 if last is None else last + 1
    )
    return stored


def post_message(
    session: Session, principal: Principal, thread_id: uuid.UUID, message: NewMessage
) -> Message:
    """Add a message to a thread, for a caller.

    Raises:
        ThreadNotFoundError: there is no such thread in the principal's organization.
    """
    thread = get_thread(session, thread_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    return append(session, thread.id, message, created_by=principal.user_id)


def change_message(
    session: Session, principal: Principal, message_id: uuid.UUID, fields: Mapping[str, Any]
) -> Message:
    """Set the given ones of `input`, `output` and `meta`.

    Raises:
        MessageNotFoundError: there is no such message in the principal's organization.
    """
    message = get_message(session, message_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    return rows.change(session, message, fields)


def delete_message(session: Session, principal: Principal, message_id: uuid.UUID) -> None:
    """Delete a message; the others keep their index.

    Raises:
        MessageNotFoundError: there is no such message in the principal's organization.
    """
    session.delete(
        get_message(session, message_id, organization_id=principal.organization_id, lock=Lock.REMOVAL)
    )


def _insert(
    session: Session,
    thread_id: uuid.UUID,
    messages: Sequence[NewMessage],
    created_by: uuid.UUID,
    *,
    first_index: int,
) -> list[Message]:
    stored = [
        Message(
            thread_id=thread_id,
            index=first_index + offset,
            input=message.input,
            output=message.output,
            meta=message.meta,
            created_by=created_by,
        )
        for offset, message in enumerate(messages)
    ]
    session.add_all(stored)
    session.flush()
    return stored
