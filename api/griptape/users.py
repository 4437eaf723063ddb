"""Users: list, read."""

from typing import Any

from fastapi import APIRouter

from api.dependencies import PrincipalDep, SessionDep
from api.errors import NOT_FOUND
from api.griptape.errors import documented
from api.griptape.user_schemas import UserList, UserView
from api.requests.path_ids import UserId
from api.routing import KeyedRoute
from shared.organizations import queries

router = APIRouter(prefix="/users", tags=["Users"], route_class=KeyedRoute)


@router.get("", response_model=UserList, responses=documented())
def list_users(session: SessionDep, principal: PrincipalDep) -> dict[str, Any]:
    """List the users of the key's organization."""
    users = queries.users_of(session, principal.organization_id).rows
    memberships = queries.memberships_of(session, [user.id for user in users], seen_by=principal.user_id)
    return {"users": [UserView.of(user, list(memberships[user.id])) for user in users]}


@router.get("/{user_id}", responses=documented(NOT_FOUND))
def get_user(session: SessionDep, principal: PrincipalDep, user_id: UserId) -> UserView:
    """Read a user of the key's organization."""
    user = queries.get_user(session, user_id, organization_id=principal.organization_id)
    memberships = queries.memberships_of(session, [user.id], seen_by=principal.user_id)
    return UserView.of(user, list(memberships[user.id]))
