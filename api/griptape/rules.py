"""Rules: list, create, read, change, delete (contract: griptape §13)."""

import uuid
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.griptape.errors import documented
from api.griptape.pagination import Pagination, WholePageDep
from api.griptape.ruleset_schemas import RuleCreate, RuleList, RuleUpdate, RuleView
from api.idempotency import OnceDep
from api.lists import shown_as
from api.path_ids import RuleId
from api.routing import KeyedRoute
from shared.models import Rule
from shared.quotas import Resource
from shared.rulesets import queries, service

router = APIRouter(prefix="/rules", tags=["Rules"], route_class=KeyedRoute)

_BAD, _UNKNOWN, _LARGE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@router.get("", response_model=RuleList, responses=documented(_BAD))
def list_rules(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    page: WholePageDep,
    ruleset_id: Annotated[uuid.UUID | None, Query()] = None,
) -> Response:
    """List rules, newest first, or a ruleset's in its order; all of them unless a page is asked for."""
    found = queries.page_of_rules(
        session,
        organization_id=principal.organization_id,
        ruleset_id=ruleset_id,
        offset=page.offset,
        limit=page.limit,
        is_light=True,
    )
    more = {"pagination": Pagination.of(page, total=found.total)}
    return lists.answer(session, principal, found.rules, shown_as(RuleView), key="rules", more=more)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_model=RuleView,
    responses=documented(_BAD, HTTPStatus.CONFLICT, _LARGE),
)
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


@router.get("/{rule_id}", response_model=RuleView, responses=documented(_UNKNOWN))
def get_rule(session: SessionDep, principal: PrincipalDep, rule_id: RuleId) -> Rule:
    """Read a rule."""
    return queries.get_rule(session, rule_id, organization_id=principal.organization_id)


@router.patch("/{rule_id}", response_model=RuleView, responses=documented(_BAD, _UNKNOWN, _LARGE))
def update_rule(
    session: SessionDep, principal: PrincipalDep, rule_id: RuleId, body: RuleUpdate | None = None
) -> Rule:
    """Change a rule; a field that is absent stays as it is."""
    return service.change_rule(session, principal, rule_id, body.given() if body else {})


@router.delete("/{rule_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(_UNKNOWN))
def delete_rule(session: SessionDep, principal: PrincipalDep, rule_id: RuleId) -> None:
    """Delete a rule, also out of the rulesets that list it."""
    service.delete_rule(session, principal, rule_id)
