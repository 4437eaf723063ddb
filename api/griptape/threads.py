"""Threads: list, create, read, change, delete (contract: griptape §10)."""

import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from api.dependencies import DispatcherDep, ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.griptape.errors import documented
from api.griptape.fields import Search
from api.griptape.pagination import PartDep
from api.griptape.thread_schemas import ThreadCreate, ThreadList, ThreadUpdate, ThreadView
from api.idempotency import OnceDep
from api.path_ids import ThreadId
from api.routing import KeyedRoute
from shared.models import Thread
from shared.quotas import Resource
from shared.threads import queries, service
from shared.threads.queries import ThreadFilter

router = APIRouter(prefix="/threads", tags=["Threads"], route_class=KeyedRoute)

_BAD, _UNKNOWN, _LARGE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_TAKEN = HTTPStatus.CONFLICT


async def _filter(
    alias: Annotated[Search | None, Query()] = None,
    starts_with: Annotated[Search | None, Query()] = None,
    created_by: Annotated[Search | None, Query()] = None,
) -> ThreadFilter:
    return ThreadFilter(alias=alias, starts_with=starts_with, created_by=created_by or None)


@router.get("", response_model=ThreadList, responses=documented(_BAD))
def list_threads(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    part: PartDep,
    wanted: Annotated[ThreadFilter, Depends(_filter)],
) -> Response:
    """List threads, newest first; `alias` matches exactly, `starts_with` the name or the alias."""
    found = queries.page(
        session,
        wanted,
        organization_id=principal.organization_id,
        part=part.part(session),
        is_light=True,
    )
    more = {"pagination": part.pagination(session, found)}
    return lists.answer(session, principal, found.rows, _shown, key="threads", more=more)


def _shown(session: Session, threads: Sequence[Thread]) -> list[ThreadView]:
    sizes = queries.sizes(session, [thread.id for thread in threads])
    return [ThreadView.of(thread, sizes) for thread in threads]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=documented(_BAD, _TAKEN, _LARGE),
)
def create_thread(
    session: SessionDep, principal: PrincipalDep, once: OnceDep, quotas: QuotasDep, body: ThreadCreate
) -> ThreadView:
    """Create a thread; an alias is one thread's in an organization."""
    messages = body.new_messages() or ()

    def make() -> Thread:
        quotas.require_room_for(session, Resource.THREAD, principal.organization_id)
        quotas.require_room_for(session, Resource.MESSAGE, principal.organization_id, more=len(messages))
        return service.create(session, principal, body.given(), messages)

    thread = once(
        make,
        lambda made: queries.get_thread(session, made, organization_id=principal.organization_id),
    )
    return _view(session, thread)


@router.get("/{thread_id}", responses=documented(_UNKNOWN))
def get_thread(session: SessionDep, principal: PrincipalDep, thread_id: ThreadId) -> ThreadView:
    """Read a thread."""
    return _view(session, queries.get_thread(session, thread_id, organization_id=principal.organization_id))


@router.patch("/{thread_id}", responses=documented(_BAD, _UNKNOWN, _TAKEN, _LARGE))
def update_thread(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    thread_id: ThreadId,
    body: ThreadUpdate | None = None,
) -> ThreadView:
    """Change a thread; `messages`, if present, replace all of its messages."""
    body = body or ThreadUpdate()
    messages = body.new_messages()
    quotas.require_room_for(session, Resource.MESSAGE, principal.organization_id, more=len(messages or ()))
    thread = service.change(session, principal, thread_id, body.given(), messages)
    return _view(session, thread)


@router.delete("/{thread_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(_UNKNOWN))
def delete_thread(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, thread_id: ThreadId
) -> None:
    """Delete a thread with its messages; its runs stay readable."""
    service.delete(session, dispatcher, principal, thread_id)


def _view(session: SessionDep, thread: Thread) -> ThreadView:
    identifiers: list[uuid.UUID] = [thread.id]
    return ThreadView.of(thread, queries.sizes(session, identifiers))
