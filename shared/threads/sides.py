"""Messages one at a time, as others count them: the two sides of our exchanges.

An exchange that has one side only is marked with it in its metadata, and its other side is an empty text.
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


class Side(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


LONE: Final = "lone"
"""Under which key an exchange's metadata keeps its only side."""

_COLUMNS: Final = {Side.USER: "input", Side.ASSISTANT: "output"}


def sides_of(exchange: Message) -> list[Side]:
    """The sides that an exchange has, the question first."""
    lone = exchange.meta.get(LONE)
    return [side for side in Side if lone is None or side == lone or lone not in set(Side)]


def said(exchange: Message, side: Side) -> str:
    """What stands on one side, as it is stored."""
    text: str = getattr(exchange, _COLUMNS[side])
    return text


def post(session: Session, principal: Principal, thread_id: uuid.UUID, side: Side, text: str) -> Message:
    """Add one side after the last of a thread: an answer to a question that has none, or a new exchange.

    Raises:
        ThreadNotFoundError: there is no such thread in the principal's organization.
    """
    thread = get_thread(session, thread_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    newest = select(Message).where(Message.thread_id == thread.id).order_by(Message.index.desc()).limit(1)
    last = session.scalar(Lock.CHANGE(newest, Message))
    if side is Side.ASSISTANT and last is not None and sides_of(last) == [Side.USER]:
        return _written(session, last, side, text, lone=None)
    artifacts = {one: _encoded(text if one is side else "") for one in Side}
    new = service.NewMessage(artifacts[Side.USER], artifacts[Side.ASSISTANT], {LONE: side.value})
    return service.append(session, thread.id, new, created_by=principal.user_id)


def change(session: Session, exchange: Message, side: Side, text: str) -> Message:
    """Put another text on a side that an exchange has."""
    return _written(session, exchange, side, text, lone=exchange.meta.get(LONE))


def delete(session: Session, exchange: Message, side: Side) -> None:
    """Take a side away; with its last one, the exchange goes."""
    if sides_of(exchange) == [side]:
        session.delete(exchange)
        return
    other = next(one for one in Side if one is not side)
    _written(session, exchange, side, "", lone=other.value)


def _written(session: Session, exchange: Message, side: Side, text: str, *, lone: object) -> Message:
    setattr(exchange, _COLUMNS[side], _encoded(text))
    rest = {name: value for name, value in exchange.meta.items() if name != LONE}
    exchange.meta = rest if lone is None else {**rest, LONE: lone}
    session.flush()
    session.refresh(exchange)
    return exchange


def _encoded(text: str) -> str:
    return encode_artifact(text_artifact(text))
