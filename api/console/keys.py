"""API keys: list, create, delete. A secret is shown once."""

from typing import Final

from fastapi import APIRouter, Request, Response

from api.console.pages import page
from api.console.route import ConsoleRoute, FormDep, text_of, to
from api.console.run_queries import PAGE, cursor_of, position_of
from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.key_scopes import takes
from api.requests.path_ids import ApiKeyId
from shared.errors import InvalidRequestError
from shared.keys import queries, service
from shared.models import KeyScope
from shared.rows.paging import Part

router = APIRouter(route_class=ConsoleRoute, prefix="/keys")

LONGEST_NAME: Final = 200  # characters


@router.get("")
def list_keys(request: Request, session: SessionDep, principal: PrincipalDep, at: str = "") -> Response:
    """List keys: an owner sees all of the organization, a member the own ones."""
    user = None if service.is_owner(session, principal) else principal.user_id
    part = Part(limit=PAGE, after=position_of(at), is_walk=True)
    found = queries.page(session, organization_id=principal.organization_id, user_id=user, part=part)
    following = cursor_of(found.rows) if found.has_more else ""
    return page(
        request,
        "keys.html",
        rows=found.rows,
        following=following,
        scopes=list(KeyScope),
        secret="",
        made=None,
    )


@router.post("")
@takes(KeyScope.ADMIN)
def create_key(
    request: Request, session: SessionDep, principal: PrincipalDep, quotas: QuotasDep, form: FormDep
) -> Response:
    """Create a key for oneself, and show its secret this once."""
    name, scope = text_of(form, "name").strip(), text_of(form, "scope")
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidRequestError(f"A key has a name, of {LONGEST_NAME} characters at the most.")
    if scope not in set(KeyScope):
        raise InvalidRequestError("A scope is `read`, `run` or `admin`.")
    organization_id = principal.organization_id
    quotas.require_room_for_key(session, principal.user_id, organization_id=organization_id)
    key, secret = service.create_key(
        session,
        organization_id=organization_id,
        user_id=principal.user_id,
        name=name,
        scope=KeyScope(scope),
    )
    return page(request, "keys.html", rows=[], following="", scopes=list(KeyScope), secret=secret, made=key)


@router.post("/{api_key_id}/delete")
@takes(KeyScope.ADMIN)
def delete_key(session: SessionDep, principal: PrincipalDep, api_key_id: ApiKeyId) -> Response:
    """Delete a key; sessions and streams of it end within seconds."""
    service.delete_key(session, principal, api_key_id)
    return to("/keys")
