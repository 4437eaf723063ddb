"""Assistants: list, create, read, change, delete."""

from http import HTTPStatus

from fastapi import APIRouter, Response

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep, TermsDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.assistant_schemas import AssistantCreate, AssistantList, AssistantUpdate, AssistantView
from api.griptape.errors import documented
from api.griptape.pagination import PartDep
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.lists import shown_as
from api.requests.metadata import MetadataDep
from api.requests.path_ids import AssistantId
from api.routing import KeyedRoute
from shared.assistants import queries, service
from shared.models import Assistant, KeyScope
from shared.organizations.quotas import Resource

router = APIRouter(prefix="/assistants", tags=["Assistants"], route_class=KeyedRoute)


@router.get("", response_model=AssistantList, responses=documented(BAD_REQUEST))
def list_assistants(
    session: SessionDep, principal: PrincipalDep, lists: ListsDep, part: PartDep, metadata: MetadataDep
) -> Response:
    """List assistants, newest first."""
    found = queries.page(
        session,
        organization_id=principal.organization_id,
        metadata=metadata,
        part=part.part(session),
        is_light=True,
    )
    more = {"pagination": part.pagination(session, found)}
    return lists.answer(session, principal, found.rows, shown_as(AssistantView), key="assistants", more=more)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=AssistantView,
    responses=documented(BAD_REQUEST, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_assistant(
    session: SessionDep,
    principal: PrincipalDep,
    once: OnceDep,
    *,
    quotas: QuotasDep,
    terms: TermsDep,
    body: AssistantCreate,
) -> Assistant:
    """Create an assistant."""

    def make() -> Assistant:
        quotas.require_room_for(session, Resource.ASSISTANT, principal.organization_id)
        return service.create(session, principal, body.given(), terms=terms)

    return once(
        make,
        lambda made: queries.get_assistant(session, made, organization_id=principal.organization_id),
    )


@router.get("/{assistant_id}", response_model=AssistantView, responses=documented(NOT_FOUND))
def get_assistant(session: SessionDep, principal: PrincipalDep, assistant_id: AssistantId) -> Assistant:
    """Read an assistant."""
    return queries.get_assistant(session, assistant_id, organization_id=principal.organization_id)


@router.patch(
    "/{assistant_id}", response_model=AssistantView, responses=documented(BAD_REQUEST, NOT_FOUND, TOO_LARGE)
)
@takes(KeyScope.ADMIN)
def update_assistant(
    session: SessionDep,
    principal: PrincipalDep,
    terms: TermsDep,
    assistant_id: AssistantId,
    body: AssistantUpdate | None = None,
) -> Assistant:
    """Change an assistant. Absent fields stay."""
    return service.change(session, principal, assistant_id, body.given() if body else {}, terms=terms)


@router.delete("/{assistant_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NOT_FOUND))
@takes(KeyScope.ADMIN)
def delete_assistant(session: SessionDep, principal: PrincipalDep, assistant_id: AssistantId) -> None:
    """Delete an assistant. Its runs continue and stay readable."""
    service.delete(session, principal, assistant_id)
