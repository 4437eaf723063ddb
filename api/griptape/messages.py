"""Messages of threads: list, create, read, change, delete (contract: griptape §11)."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.griptape.errors import documented
from api.griptape.pagination import Pagination, WholePageDep
from api.griptape.thread_schemas import MessageCreate, MessageList, MessageUpdate, MessageView
from api.idempotency import OnceDep
from api.lists import shown_as
from api.path_ids import MessageId, ThreadId
from api.routing import KeyedRoute
from shared.models import Message
from shared.quotas import Resource
from shared.threads import queries, service

router = APIRouter(tags=["Messages"], route_class=KeyedRoute)

_BAD, _UNKNOWN, _LARGE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@router.get("/threads/{thread_id}/messages", response_model=MessageList, responses=documented(_BAD, _UNKNOWN))
def list_messages(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, thread_id: ThreadId, page: WholePageDep
) -> Response:
    """List a thread's messages, oldest first; all of them unless a page is asked for.

    A client that stores the whole conversation after each turn would delete what it was not shown.
    """
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    found = queries.page_of_messages(session, thread.id, offset=page.offset, limit=page.limit, is_light=True)
    more = {"pagination": Pagination.of(page, total=found.total)}
    return lists.answer(session, principal, found.messages, shown_as(MessageView), key="messages", more=more)


@router.post(
    "/threads/{thread_id}/messages",
    status_code=HTTPStatus.CREATED,
    response_model=MessageView,
    responses=documented(_BAD, _UNKNOWN, HTTPStatus.CONFLICT, _LARGE),
)
def create_message(
    session: SessionDep,
    principal: PrincipalDep,
    once: OnceDep,
    *,
    quotas: QuotasDep,
    thread_id: ThreadId,
    body: MessageCreate,
) -> Message:
    """Add a message after the last one of a thread."""

    def make() -> Message:
        quotas.require_room_for(session, Resource.MESSAGE, principal.organization_id)
        return service.post_message(session, principal, thread_id, body.new())

    return once(
        make,
        lambda made: queries.get_message(session, made, organization_id=principal.organization_id),
    )


@router.get("/messages/{message_id}", response_model=MessageView, responses=documented(_UNKNOWN))
def get_message(session: SessionDep, principal: PrincipalDep, message_id: MessageId) -> Message:
    """Read a message."""
    return queries.get_message(session, message_id, organization_id=principal.organization_id)


@router.patch(
    "/messages/{message_id}", response_model=MessageView, responses=documented(_BAD, _UNKNOWN, _LARGE)
)
def update_message(
    session: SessionDep, principal: PrincipalDep, message_id: MessageId, body: MessageUpdate | None = None
) -> Message:
    """Change a message; a field that is absent stays as it is."""
    return service.change_message(session, principal, message_id, body.given() if body else {})


@router.delete("/messages/{message_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(_UNKNOWN))
def delete_message(session: SessionDep, principal: PrincipalDep, message_id: MessageId) -> None:
    """Delete a message; the others keep their index."""
    service.delete_message(session, principal, message_id)
