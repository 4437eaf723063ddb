"""Threads: list, create, read, change, delete."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from api.dependencies import DispatcherDep, ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.errors import documented
from api.griptape.fields import Search
from api.griptape.pagination import PartDep
from api.griptape.thread_schemas import ThreadCreate, ThreadList, ThreadUpdate, ThreadView
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.metadata import MetadataDep
from api.requests.path_ids import ThreadId
from api.routing import KeyedRoute
from shared.models import KeyScope, Thread
from shared.organizations.quotas import Resource
from shared.threads import queries, service
from shared.threads.queries import ThreadFilter

router = APIRouter(prefix="/threads", tags=["Threads"], route_class=KeyedRoute)


async def _filter(
    metadata: MetadataDep,
    *,
    alias: Annotated[Search | None, Query()] = None,
    starts_with: Annotated[Search | None, Query()] = None,
    created_by: Annotated[Search | None, Query()] = None,
) -> ThreadFilter:
    return ThreadFilter(
        alias=alias, starts_with=starts_with, created_by=created_by or None, metadata=metadata
    )


@router.get("", response_model=ThreadList, responses=documented(BAD_REQUEST))
def list_threads(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    part: PartDep,
    wanted: Annotated[ThreadFilter, Depends(_filter)],
) -> Response:
    """List threads, newest first. `alias` matches exactly; `starts_with` matches name and alias."""
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
    responses=documented(BAD_REQUEST, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.RUN)
def create_thread(
    session: SessionDep, principal: PrincipalDep, once: OnceDep, quotas: QuotasDep, body: ThreadCreate
) -> ThreadView:
    """Create a thread. An alias is unique in an organization."""
    messages = body.new_messages() or ()

    def make() -> Thread:
        quotas.require_room_for(session, Resource.THREAD, principal.organization_id)
        quotas.require_room_for(session, Resource.MESSAGE, principal.organization_id, more=len(messages))
        return service.create(session, principal, body.given(), messages)

    thread = once(
        make,
        lambda made: queries.get_thread(session, made, organization_id=principal.organization_id),
    )
    return _shown(session, [thread])[0]


@router.get("/{thread_id}", responses=documented(NOT_FOUND))
def get_thread(session: SessionDep, principal: PrincipalDep, thread_id: ThreadId) -> ThreadView:
    """Read a thread."""
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    return _shown(session, [thread])[0]


@router.patch("/{thread_id}", responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE))
@takes(KeyScope.RUN)
def update_thread(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    thread_id: ThreadId,
    body: ThreadUpdate | None = None,
) -> ThreadView:
    """Change a thread. `messages`, if present, replace all messages."""
    body = body or ThreadUpdate()
    messages = body.new_messages()
    quotas.require_room_for(session, Resource.MESSAGE, principal.organization_id, more=len(messages or ()))
    thread = service.change(session, principal, thread_id, body.given(), messages)
    return _shown(session, [thread])[0]


@router.delete("/{thread_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NOT_FOUND))
@takes(KeyScope.RUN)
def delete_thread(
    session: SessionDep, principal: PrincipalDep, dispatcher: DispatcherDep, thread_id: ThreadId
) -> None:
    """Delete a thread and its messages. Its runs stay readable."""
    service.delete(session, dispatcher, principal, thread_id)
