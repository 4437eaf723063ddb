"""Messages of threads: list, create, read, change, delete."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.errors import documented
from api.griptape.message_schemas import MessageCreate, MessageList, MessageUpdate, MessageView
from api.griptape.pagination import Pagination, WholePageDep
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.lists import shown_as
from api.requests.path_ids import MessageId, ThreadId
from api.routing import KeyedRoute
from shared.models import KeyScope, Message
from shared.organizations.quotas import Resource
from shared.threads import queries, service

router = APIRouter(tags=["Messages"], route_class=KeyedRoute)


@router.get(
    "/threads/{thread_id}/messages", response_model=MessageList, responses=documented(BAD_REQUEST, NOT_FOUND)
)
def list_messages(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, thread_id: ThreadId, page: WholePageDep
) -> Response:
    """List a thread's messages, oldest first. Without `page` and `page_size`, list all of them."""
    # A client that stores the whole conversation after each turn would delete messages it was not shown.
    thread = queries.get_thread(session, thread_id, organization_id=principal.organization_id)
    found = queries.page_of_messages(session, thread.id, part=page.part, is_light=True)
    more = {"pagination": Pagination.of(page, total=found.count)}
    return lists.answer(session, principal, found.rows, shown_as(MessageView), key="messages", more=more)


@router.post(
    "/threads/{thread_id}/messages",
    status_code=HTTPStatus.CREATED,
    response_model=MessageView,
    responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.RUN)
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


@router.get("/messages/{message_id}", response_model=MessageView, responses=documented(NOT_FOUND))
def get_message(session: SessionDep, principal: PrincipalDep, message_id: MessageId) -> Message:
    """Read a message."""
    return queries.get_message(session, message_id, organization_id=principal.organization_id)


@router.patch(
    "/messages/{message_id}",
    response_model=MessageView,
    responses=documented(BAD_REQUEST, NOT_FOUND, TOO_LARGE),
)
@takes(KeyScope.RUN)
def update_message(
    session: SessionDep, principal: PrincipalDep, message_id: MessageId, body: MessageUpdate | None = None
) -> Message:
    """Change a message. Absent fields stay."""
    return service.change_message(session, principal, message_id, body.given() if body else {})


@router.delete("/messages/{message_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NOT_FOUND))
@takes(KeyScope.RUN)
def delete_message(session: SessionDep, principal: PrincipalDep, message_id: MessageId) -> None:
    """Delete a message. The others keep their index."""
    service.delete_message(session, principal, message_id)
