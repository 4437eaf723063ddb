"""Threads, as a view of ours (contract: watsonx §4)."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, StringConstraints
from sqlalchemy.orm import Session

from api.dependencies import DispatcherDep, ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.idempotency import OnceDep
from api.path_ids import ThreadId
from api.routing import KeyedRoute
from api.watsonx.errors import ERRORS
from api.watsonx.paging import SliceDep
from api.watsonx.run_schemas import OptionalId
from shared.assistants.queries import get_assistant
from shared.instants import rfc3339
from shared.models import JsonObject, Thread
from shared.quotas import Resource
from shared.threads import queries, service

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)

Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
AGENT = "agent_id"
"""Under which key a thread's metadata keeps the agent that it was made for."""


class ThreadCreate(BaseModel):
    """A new thread."""

    title: Title | None = None
    agent_id: OptionalId = None
    assistant_id: OptionalId = None


class ThreadUpdate(BaseModel):
    """What is to change."""

    title: Title | None = None


class NewThread(BaseModel):
    """The id of a new thread."""

    thread_id: uuid.UUID


@router.post("/threads", status_code=201, tags=["Message Threads"])
def create_thread(
    session: SessionDep,
    principal: PrincipalDep,
    *,
    once: OnceDep,
    quotas: QuotasDep,
    response: Response,
    body: ThreadCreate | None = None,
) -> NewThread:
    """Create a thread."""
    wanted = body or ThreadCreate()
    agent = wanted.agent_id or wanted.assistant_id
    fields: dict[str, Any] = {"name": wanted.title or uuid.uuid4().hex}
    if agent is not None:
        get_assistant(session, agent, organization_id=principal.organization_id)
        fields["meta"] = {AGENT: str(agent)}

    def make() -> Thread:
        quotas.require_room_for(session, Resource.THREAD, principal.organization_id)
        return service.create(session, principal, fields)

    thread = once(
        make,
        lambda made: queries.get_thread(session, made, organization_id=principal.organization_id),
    )
    response.headers["Location"] = f"/threads/{thread.id}"
    return NewThread(thread_id=thread.id)


@router.get("/threads", response_model=list[dict[str, Any]], tags=["Message Threads"])
def list_threads(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    *,
    part: SliceDep,
    agent_id: Annotated[OptionalId, Query()] = None,
) -> Response:
    """List threads, newest first; with `agent_id` those that were made for it or that its runs are on."""
    wanted = queries.ThreadFilter(agent_id=agent_id)
    page = queries.page(
        session,
        wanted,
        organization_id=principal.organization_id,
        part=part.part(session),
        is_light=True,
    )
    return lists.answer(session, principal, page.rows, _threads, headers=part.headers(session, page))


@router.get("/threads/{thread_id}", tags=["Message Threads"])
def get_thread(session: SessionDep, principal: PrincipalDep, thread_id: ThreadId) -> dict[str, Any]:
    """Read a thread."""
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    return _threads(session, [thread])[0]


@router.patch("/threads/{thread_id}", tags=["Message Threads"])
def update_thread(
    session: SessionDep, principal: PrincipalDep, thread_id: ThreadId, body: ThreadUpdate | None = None
) -> dict[str, Any]:
    """Give a thread another title."""
    fields = {"name": body.title} if body and body.title else {}
    return _threads(session, [service.change(session, principal, thread_id, fields)])[0]


@router.delete("/threads/{thread_id}", status_code=204, tags=["Message Threads"])
def delete_thread(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, thread_id: ThreadId
) -> None:
    """Delete a thread and its messages; its runs stay."""
    service.delete(session, dispatcher, principal, thread_id)


def _threads(session: Session, threads: Sequence[Thread]) -> list[JsonObject]:
    """Threads as they are shown: each with the agent it was made for, or else that of its first run."""
    agents = queries.first_assistants(session, [thread.id for thread in threads])
    return [_thread(thread, thread.meta.get(AGENT) or agents.get(thread.id)) for thread in threads]


def _thread(thread: Thread, agent_id: object) -> JsonObject:
    return {
        "id": thread.id,
        "tenant_id": str(thread.organization_id),
        "tenant_name": None,
        "status": "ready",
        "title": thread.name,
        "assistant_id": agent_id,
        "agent_id": agent_id,
        "created_by": thread.created_by,
        "created_by_username": None,
        "created_on": rfc3339(thread.created_at),
        "updated_at": rfc3339(thread.updated_at),
        "deleted_at": None,
        "deleted_by": None,
    }
