"""Messages of threads: list, post, read, change, delete."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.path_ids import MAX_ECHO, ThreadId
from api.routing import KeyedRoute
from api.watsonx.errors import ERRORS
from api.watsonx.steps import steps_of
from api.watsonx.thread_message_schemas import (
    MessageCreate,
    MessageUpdate,
    message_id,
    origin_of,
    shown_role,
    text_in,
)
from shared.db import Lock
from shared.errors import MessageNotFoundError
from shared.keys.principal import Principal
from shared.models import JsonObject, KeyScope, Message, Thread
from shared.organizations.quotas import Resource
from shared.threads import queries, roles
from shared.threads.roles import Role

router = APIRouter(tags=["Message Threads"], route_class=KeyedRoute, responses=ERRORS)


@router.get("/threads/{thread_id}/messages", response_model=list[dict[str, Any]])
def list_messages(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, thread_id: ThreadId
) -> Response:
    """List a thread's messages, oldest first."""
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)

    def shown(session: Session, messages: Sequence[Message]) -> list[JsonObject]:
        steps = _steps(session, thread, messages)
        return [
            shown_role(thread, message, role, steps)
            for message in messages
            for role in roles.roles_of(message)  # the user's first
        ]

    messages = queries.page_of_messages(session, thread.id, is_light=True).rows
    return lists.answer(session, principal, messages, shown)


@router.post("/threads/{thread_id}/messages", status_code=201)
@takes(KeyScope.RUN)
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
        return roles.post(session, principal, thread_id, body.role, text_in(body.content))

    message = once(
        make,
        lambda made: queries.get_message(session, made, organization_id=principal.organization_id),
    )
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    return shown_role(thread, message, body.role, {})


@router.get("/threads/{thread_id}/messages/{message_id}")
def get_message(
    session: SessionDep, principal: PrincipalDep, thread_id: ThreadId, message_id: str
) -> dict[str, Any]:
    """Read a message."""
    return _Found.find(session, principal, thread_id, message_id).shown(session)


@router.patch("/threads/{thread_id}/messages/{message_id}")
@takes(KeyScope.RUN)
def update_message(
    session: SessionDep,
    principal: PrincipalDep,
    thread_id: ThreadId,
    message_id: str,
    body: MessageUpdate | None = None,
) -> dict[str, Any]:
    """Change the content of a message."""
    if body is None or body.content is None:
        return _Found.find(session, principal, thread_id, message_id).shown(session)
    found = _Found.find(session, principal, thread_id, message_id, lock=Lock.CHANGE)
    roles.change(session, found.message, found.role, text_in(body.content))
    return found.shown(session)


@router.delete("/threads/{thread_id}/messages/{message_id}", status_code=204)
@takes(KeyScope.RUN)
def delete_message(
    session: SessionDep, principal: PrincipalDep, thread_id: ThreadId, message_id: str
) -> None:
    """Delete a message. The question or the answer it belongs to stays."""
    found = _Found.find(session, principal, thread_id, message_id, lock=Lock.REMOVAL)
    roles.delete(session, found.message, found.role)


@dataclass(frozen=True, slots=True)
class _Found:
    """A message, found by its id among those of its thread."""

    thread: Thread
    message: Message
    role: Role

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
        """Find a message, and lock it if `lock` says how.

        Raises:
            MessageNotFoundError: the thread has no such message, or no longer.
        """
        organization_id = principal.organization_id
        thread = queries.get_thread(session, thread_id, organization_id=organization_id)
        for message in queries.page_of_messages(session, thread.id).rows:
            for role in roles.roles_of(message):
                if str(message_id(origin_of(message), role.value)) != wanted.lower():
                    continue
                if lock is not None:  # read it again: another may have deleted the text of this role
                    queries.get_message(session, message.id, organization_id=organization_id, lock=lock)
                    if role not in roles.roles_of(message):
                        raise MessageNotFoundError(message_id(origin_of(message), role.value))
                return cls(thread, message, role)
        raise MessageNotFoundError(wanted[:MAX_ECHO])

    def shown(self, session: Session) -> JsonObject:
        return shown_role(self.thread, self.message, self.role, _steps(session, self.thread, [self.message]))


def _steps(
    session: Session, thread: Thread, messages: Sequence[Message]
) -> Mapping[uuid.UUID, Sequence[JsonObject]]:
    origins = [origin_of(message) for message in messages]
    return steps_of(session, origins, organization_id=thread.organization_id)
