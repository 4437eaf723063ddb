"""Rules: list, create, read, change, delete."""

import uuid
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.errors import documented
from api.griptape.pagination import Pagination, WholePageDep
from api.griptape.rule_schemas import RuleCreate, RuleList, RuleUpdate, RuleView
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.lists import shown_as
from api.requests.path_ids import RuleId
from api.routing import KeyedRoute
from shared.models import KeyScope, Rule
from shared.organizations.quotas import Resource
from shared.rulesets import queries, service

router = APIRouter(prefix="/rules", tags=["Rules"], route_class=KeyedRoute)


@router.get("", response_model=RuleList, responses=documented(BAD_REQUEST))
def list_rules(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    page: WholePageDep,
    ruleset_id: Annotated[uuid.UUID | None, Query()] = None,
) -> Response:
    """List rules, newest first, or the rules of a ruleset in its order."""
    found = queries.page_of_rules(
        session,
        organization_id=principal.organization_id,
        ruleset_id=ruleset_id,
        part=page.part,
        is_light=True,
    )
    more = {"pagination": Pagination.of(page, total=found.count)}
    return lists.answer(session, principal, found.rows, shown_as(RuleView), key="rules", more=more)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=RuleView,
    responses=documented(BAD_REQUEST, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_rule(
    session: SessionDep, principal: PrincipalDep, once: OnceDep, quotas: QuotasDep, body: RuleCreate
) -> Rule:
    """Create a rule."""

    def make() -> Rule:
        quotas.require_room_for(session, Resource.RULE, principal.organization_id)
        return service.create_rule(session, principal, body.given())

    return once(
        make,
        lambda made: queries.get_rule(session, made, organization_id=principal.organization_id),
    )


@router.get("/{rule_id}", response_model=RuleView, responses=documented(NOT_FOUND))
def get_rule(session: SessionDep, principal: PrincipalDep, rule_id: RuleId) -> Rule:
    """Read a rule."""
    return queries.get_rule(session, rule_id, organization_id=principal.organization_id)


@router.patch("/{rule_id}", response_model=RuleView, responses=documented(BAD_REQUEST, NOT_FOUND, TOO_LARGE))
@takes(KeyScope.ADMIN)
def update_rule(
    session: SessionDep, principal: PrincipalDep, rule_id: RuleId, body: RuleUpdate | None = None
) -> Rule:
    """Change a rule. Absent fields stay."""
    return service.change_rule(session, principal, rule_id, body.given() if body else {})


@router.delete("/{rule_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NOT_FOUND))
@takes(KeyScope.ADMIN)
def delete_rule(session: SessionDep, principal: PrincipalDep, rule_id: RuleId) -> None:
    """Delete a rule and remove it from every ruleset."""
    service.delete_rule(session, principal, rule_id)
