"""API keys: list and create by user and by organization; read, rename, delete."""

import uuid
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.dependencies import PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, FORBIDDEN, NOT_FOUND, TOO_LARGE
from api.griptape.api_key_schemas import KeyCreate, KeyList, KeyUpdate, KeyView, NewKeyView
from api.griptape.errors import documented
from api.griptape.pagination import PartDep, PartQuery
from api.idempotency import OnceDep, OnceOrAlways
from api.key_scopes import takes
from api.requests.path_ids import ApiKeyId, OrganizationId, UserId
from api.routing import KeyedRoute
from shared.errors import ConflictError
from shared.keys import queries, service
from shared.models import ApiKey, KeyScope
from shared.organizations.queries import get_user, require_owner
from shared.organizations.quotas import Quotas
from shared.organizations.service import get_within_reach

router = APIRouter(tags=["API Keys"], route_class=KeyedRoute)


@router.get("/users/{user_id}/api-keys", response_model=KeyList, responses=documented(BAD_REQUEST, NOT_FOUND))
def list_api_keys(
    session: SessionDep, principal: PrincipalDep, user_id: UserId, part: PartDep
) -> dict[str, Any]:
    """List a user's keys in the key's organization, newest first."""
    user = get_user(session, user_id, organization_id=principal.organization_id)
    if user.id != principal.user_id:
        require_owner(
            session,
            principal.user_id,
            organization_id=principal.organization_id,
            otherwise="Only an owner sees the keys of others.",
        )
    return _list(session, part, organization_id=principal.organization_id, user_id=user.id)


@router.post(
    "/users/{user_id}/api-keys",
    status_code=HTTPStatus.CREATED,
    responses=documented(FORBIDDEN, BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_api_key(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    once: OnceDep,
    *,
    user_id: UserId,
    body: KeyCreate,
) -> NewKeyView:
    """Create a key for yourself in the key's organization. The secret is in this answer only."""
    user = get_user(session, user_id, organization_id=principal.organization_id)
    service.require_oneself(principal, user.id)
    return _create(session, quotas, once, body, organization_id=principal.organization_id, user_id=user.id)


@router.get(
    "/organizations/{organization_id}/api-keys",
    response_model=KeyList,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
def list_organization_api_keys(
    session: SessionDep, principal: PrincipalDep, organization_id: OrganizationId, part: PartDep
) -> dict[str, Any]:
    """List an organization's keys, newest first. An owner sees all keys, a member the own ones."""
    organization = get_within_reach(session, principal, organization_id)
    sees_all = organization.id != principal.organization_id or service.is_owner(session, principal)
    return _list(
        session, part, organization_id=organization.id, user_id=None if sees_all else principal.user_id
    )


@router.post(
    "/organizations/{organization_id}/api-keys",
    status_code=HTTPStatus.CREATED,
    responses=documented(FORBIDDEN, BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_organization_api_key(
    session: SessionDep,
    principal: PrincipalDep,
    quotas: QuotasDep,
    once: OnceDep,
    *,
    organization_id: OrganizationId,
    body: KeyCreate,
) -> NewKeyView:
    """Create a key for yourself in the key's organization, or the first one of a new organization."""
    organization = get_within_reach(session, principal, organization_id)
    return _create(session, quotas, once, body, organization_id=organization.id, user_id=principal.user_id)


@router.get("/api-keys/{api_key_id}", responses=documented(NOT_FOUND))
def get_api_key(session: SessionDep, principal: PrincipalDep, api_key_id: ApiKeyId) -> KeyView:
    """Read a key, without its secret."""
    return KeyView.of(service.get_managed(session, principal, api_key_id))


@router.patch("/api-keys/{api_key_id}", responses=documented(FORBIDDEN, BAD_REQUEST, NOT_FOUND, TOO_LARGE))
@takes(KeyScope.ADMIN)
def update_api_key(
    session: SessionDep, principal: PrincipalDep, api_key_id: ApiKeyId, body: KeyUpdate | None = None
) -> KeyView:
    """Rename a key."""
    if body is None or body.name is None:
        key = service.get_managed(session, principal, api_key_id)
    else:
        key = service.rename_key(session, principal, api_key_id, body.name)
    return KeyView.of(key)


@router.delete(
    "/api-keys/{api_key_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(FORBIDDEN, NOT_FOUND),
)
@takes(KeyScope.ADMIN)
def delete_api_key(session: SessionDep, principal: PrincipalDep, api_key_id: ApiKeyId) -> None:
    """Delete a key. Within seconds no server process accepts it."""
    service.delete_key(session, principal, api_key_id)


def _list(
    session: SessionDep,
    part: PartQuery,
    *,
    organization_id: uuid.UUID,
    user_id: uuid.UUID | None = None,
) -> dict[str, Any]:
    found = queries.page(
        session,
        organization_id=organization_id,
        user_id=user_id,
        part=part.part(session),
    )
    return {
        "api_keys": [KeyView.of(key) for key in found.rows],
        "pagination": part.pagination(session, found),
    }


def _create(
    session: Session,
    quotas: Quotas,
    once: OnceOrAlways,
    body: KeyCreate,
    *,
    organization_id: uuid.UUID,
    user_id: uuid.UUID,
) -> NewKeyView:
    secrets: list[str] = []

    def make() -> ApiKey:
        quotas.require_room_for_key(session, user_id, organization_id=organization_id)
        key, secret = service.create_key(
            session,
            organization_id=organization_id,
            user_id=user_id,
            name=body.name,
            scope=body.scope or KeyScope.ADMIN,
        )
        secrets.append(secret)
        return key

    def refuse_to_show_again(api_key_id: uuid.UUID) -> ApiKey:
        raise ConflictError(
            f"The API key {api_key_id} was made for this Idempotency-Key; its secret was shown then, and is "
            "not kept. Delete it and make another."
        )

    key = once(make, refuse_to_show_again)
    session.refresh(key)
    return NewKeyView.of(key, value=secrets[0])
