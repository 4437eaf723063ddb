"""Threads: create, list, read, change, delete."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.dependencies import DispatcherDep, ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.blanks import OptionalId
from api.requests.path_ids import ThreadId
from api.routing import KeyedRoute
from api.watsonx.errors import ERRORS
from api.watsonx.paging import SliceDep
from api.watsonx.thread_schemas import AGENT, NewThread, ThreadCreate, ThreadUpdate, shown_threads
from shared.assistants.queries import get_assistant
from shared.models import KeyScope, Thread
from shared.organizations.quotas import Resource
from shared.threads import queries, service

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)


@router.post("/threads", status_code=201, tags=["Message Threads"])
@takes(KeyScope.RUN)
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
    """List threads, newest first; with `agent_id`, the threads of the agent and of its runs."""
    wanted = queries.ThreadFilter(agent_id=agent_id)
    page = queries.page(
        session,
        wanted,
        organization_id=principal.organization_id,
        part=part.part(session),
        is_light=True,
    )
    return lists.answer(session, principal, page.rows, shown_threads, headers=part.headers(session, page))


@router.get("/threads/{thread_id}", tags=["Message Threads"])
def get_thread(session: SessionDep, principal: PrincipalDep, thread_id: ThreadId) -> dict[str, Any]:
    """Read a thread."""
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    return shown_threads(session, [thread])[0]


@router.patch("/threads/{thread_id}", tags=["Message Threads"])
@takes(KeyScope.RUN)
def update_thread(
    session: SessionDep, principal: PrincipalDep, thread_id: ThreadId, body: ThreadUpdate | None = None
) -> dict[str, Any]:
    """Change the title of a thread."""
    fields = {"name": body.title} if body and body.title else {}
    return shown_threads(session, [service.change(session, principal, thread_id, fields)])[0]


@router.delete("/threads/{thread_id}", status_code=204, tags=["Message Threads"])
@takes(KeyScope.RUN)
def delete_thread(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, thread_id: ThreadId
) -> None:
    """Delete a thread and its messages. Its runs stay readable."""
    service.delete(session, dispatcher, principal, thread_id)
