"""Messages of threads: list, post, read, change, delete (contract: watsonx §4)."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, BeforeValidator
from sqlalchemy.orm import Session

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.idempotency import OnceDep
from api.path_ids import MAX_ECHO, ThreadId
from api.routing import KeyedRoute
from api.watsonx.content import Content, text_in
from api.watsonx.errors import ERRORS
from api.watsonx.messages import message_id, messages_of, origin_of, shown_side
from api.watsonx.steps import steps_of
from shared.db import Lock
from shared.errors import MessageNotFoundError
from shared.keys.principal import Principal
from shared.models import JsonObject, Message, Thread
from shared.quotas import Resource
from shared.threads import queries, sides
from shared.threads.sides import Side

router = APIRouter(tags=["Message Threads"], route_class=KeyedRoute, responses=ERRORS)

_human_is_user = BeforeValidator(lambda value: Side.USER if value == "human" else value)


class MessageCreate(BaseModel):
    """What is said; of its content, text is kept."""

    role: Annotated[Side, _human_is_user]
    content: Content


class MessageUpdate(BaseModel):
    """What is to change."""

    content: Content | None = None


@router.get("/threads/{thread_id}/messages", response_model=list[dict[str, Any]])
def list_messages(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, thread_id: ThreadId
) -> Response:
    """List a thread's messages, oldest first."""
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)

    def shown(session: Session, exchanges: Sequence[Message]) -> list[JsonObject]:
        steps = _steps(session, thread, exchanges)
        return [message for exchange in exchanges for message in messages_of(thread, exchange, steps)]

    exchanges = queries.page_of_messages(session, thread.id, is_light=True).messages
    return lists.answer(session, principal, exchanges, shown)


@router.post("/threads/{thread_id}/messages", status_code=201)
def create_message(
    session: SessionDep,
    principal: PrincipalDep,
    once: OnceDep,
    *,
    quotas: QuotasDep,
    thread_id: ThreadId,
    body: MessageCreate,
) -> dict[str, Any]:
    """Add a message after the last one of a thread."""

    def make() -> Message:
        quotas.require_room_for(session, Resource.MESSAGE, principal.organization_id)
        return sides.post(session, principal, thread_id, body.role, text_in(body.content))

    exchange = once(
        make,
        lambda made: queries.get_message(session, made, organization_id=principal.organization_id),
    )
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    return shown_side(thread, exchange, body.role, {})


@router.get("/threads/{thread_id}/messages/{message_id}")
def get_message(
    session: SessionDep, principal: PrincipalDep, thread_id: ThreadId, message_id: str
) -> dict[str, Any]:
    """Read a message."""
    return _Found.find(session, principal, thread_id, message_id).shown(session)


@router.patch("/threads/{thread_id}/messages/{message_id}")
def update_message(
    session: SessionDep,
    principal: PrincipalDep,
    thread_id: ThreadId,
    message_id: str,
    body: MessageUpdate | None = None,
) -> dict[str, Any]:
    """Say something else in a message."""
    if body is None or body.content is None:
        return _Found.find(session, principal, thread_id, message_id).shown(session)
    found = _Found.find(session, principal, thread_id, message_id, lock=Lock.CHANGE)
    sides.change(session, found.exchange, found.side, text_in(body.content))
    return found.shown(session)


@router.delete("/threads/{thread_id}/messages/{message_id}", status_code=204)
def delete_message(
    session: SessionDep, principal: PrincipalDep, thread_id: ThreadId, message_id: str
) -> None:
    """Delete a message; what it answered, or its answer, stays."""
    found = _Found.find(session, principal, thread_id, message_id, lock=Lock.REMOVAL)
    sides.delete(session, found.exchange, found.side)


class _Found:
    """A message, found by its id among those of its thread."""

    def __init__(self, thread: Thread, exchange: Message, side: Side) -> None:
        self.thread = thread
        self.exchange = exchange
        self.side = side

    @classmethod
    def find(
        cls,
        session: Session,
        principal: Principal,
        thread_id: uuid.UUID,
        wanted: str,
        *,
        lock: Lock | None = None,
    ) -> "_Found":
        thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
        for exchange in queries.page_of_messages(session, thread.id).messages:
            for side in sides.sides_of(exchange):
                if str(message_id(origin_of(exchange), side.value)) != wanted.lower():
                    continue
                if lock is not None:  # whoever had it until now may have taken the side away
                    cls._hold(session, principal, exchange, side, lock)
                return cls(thread, exchange, side)
        raise MessageNotFoundError(wanted[:MAX_ECHO])

    @staticmethod
    def _hold(session: Session, principal: Principal, exchange: Message, side: Side, lock: Lock) -> None:
        """Hold an exchange as it is by then.

        Raises:
            MessageNotFoundError: it has no such side any more.
        """
        organization_id = principal.organization_id
        queries.get_message(session, exchange.id, organization_id=organization_id, lock=lock)
        if side not in sides.sides_of(exchange):
            raise MessageNotFoundError(message_id(origin_of(exchange), side.value))

    def shown(self, session: Session) -> JsonObject:
        return shown_side(
            self.thread, self.exchange, self.side, _steps(session, self.thread, [self.exchange])
        )


def _steps(
    session: Session, thread: Thread, exchanges: Sequence[Message]
) -> Mapping[uuid.UUID, Sequence[JsonObject]]:
    origins = [origin_of(exchange) for exchange in exchanges]
    return steps_of(session, origins, organization_id=thread.organization_id)
