"""The roles of a thread's messages: a stored message holds a user's text and the assistant's answer.

A message with one role only names it in its metadata; the text of the other role is empty.
"""

import uuid
from enum import StrEnum
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.artifacts import encode_artifact, text_artifact
from shared.db import Lock
from shared.keys.principal import Principal
from shared.models import Message
from shared.threads import service
from shared.threads.queries import get_thread


class Role(StrEnum):
    """Who wrote a text."""

    USER = "user"
    ASSISTANT = "assistant"


SOLE_ROLE: Final = "lone"
"""The key in a message's metadata that names its only role."""

_COLUMNS: Final = {Role.USER: "input", Role.ASSISTANT: "output"}


def roles_of(message: Message) -> list[Role]:
    """The roles of a message, the user's first; both if its metadata, which is its author's, names none."""
    sole = message.meta.get(SOLE_ROLE)
    return [role for role in Role if role == sole] or list(Role)


def text_of(message: Message, role: Role) -> str:
    """The text of one role, as an encoded artifact."""
    text: str = getattr(message, _COLUMNS[role])
    return text


def post(session: Session, principal: Principal, thread_id: uuid.UUID, role: Role, text: str) -> Message:
    """Append a text to a thread: an answer to the last message if it has none, or else a new message.

    Raises:
        ThreadNotFoundError: there is no such thread in the principal's organization.
    """
    thread = get_thread(session, thread_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    newest = select(Message).where(Message.thread_id == thread.id).order_by(Message.index.desc()).limit(1)
    last = session.scalar(Lock.CHANGE(newest, Message))
    if role is Role.ASSISTANT and last is not None and roles_of(last) == [Role.USER]:
        return _set_text(session, last, role, text, sole=None)
    artifacts = {each: _encoded(text if each is role else "") for each in Role}
    new = service.NewMessage(artifacts[Role.USER], artifacts[Role.ASSISTANT], {SOLE_ROLE: role.value})
    return service.append(session, thread.id, new, created_by=principal.user_id)


def change(session: Session, message: Message, role: Role, text: str) -> Message:
    """Replace the text of a role that a message has."""
    return _set_text(session, message, role, text, sole=message.meta.get(SOLE_ROLE))


def delete(session: Session, message: Message, role: Role) -> None:
    """Delete the text of a role; with its last role, the message is deleted."""
    if roles_of(message) == [role]:
        session.delete(message)
        return
    other = next(each for each in Role if each is not role)
    _set_text(session, message, role, "", sole=other.value)


def _set_text(session: Session, message: Message, role: Role, text: str, *, sole: object) -> Message:
    setattr(message, _COLUMNS[role], _encoded(text))
    rest = {name: value for name, value in message.meta.items() if name != SOLE_ROLE}
    message.meta = rest if sole is None else {**rest, SOLE_ROLE: sole}
    session.flush()
    session.refresh(message)
    return message


def _encoded(text: str) -> str:
    return encode_artifact(text_artifact(text))
