"""Rulesets: list, create, read, change, delete."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.errors import BAD_REQUEST, CONFLICT, NOT_FOUND, TOO_LARGE
from api.griptape.errors import documented
from api.griptape.fields import Search
from api.griptape.pagination import PartDep
from api.griptape.ruleset_schemas import RulesetCreate, RulesetList, RulesetUpdate, RulesetView
from api.idempotency import OnceDep
from api.key_scopes import takes
from api.requests.path_ids import RulesetId
from api.routing import KeyedRoute
from shared.models import KeyScope, Ruleset
from shared.organizations.quotas import Resource
from shared.rulesets import queries, service

router = APIRouter(prefix="/rulesets", tags=["Rulesets"], route_class=KeyedRoute)


@router.get("", response_model=RulesetList, responses=documented(BAD_REQUEST))
def list_rulesets(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    part: PartDep,
    alias: Annotated[Search | None, Query()] = None,
) -> Response:
    """List rulesets, newest first. `alias` matches exactly."""
    found = queries.page_of_rulesets(
        session,
        organization_id=principal.organization_id,
        alias=alias,
        part=part.part(session),
        is_light=True,
    )
    more = {"pagination": part.pagination(session, found)}
    return lists.answer(session, principal, found.rows, _shown, key="rulesets", more=more)


def _shown(session: Session, rulesets: Sequence[Ruleset]) -> list[RulesetView]:
    rule_ids = queries.rule_ids_of(session, [ruleset.id for ruleset in rulesets])
    return [RulesetView.of(ruleset, rule_ids[ruleset.id]) for ruleset in rulesets]


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=documented(BAD_REQUEST, CONFLICT, TOO_LARGE),
)
@takes(KeyScope.ADMIN)
def create_ruleset(
    session: SessionDep, principal: PrincipalDep, once: OnceDep, quotas: QuotasDep, body: RulesetCreate
) -> RulesetView:
    """Create a ruleset of existing rules. An alias is unique in an organization."""

    def make() -> Ruleset:
        quotas.require_room_for(session, Resource.RULESET, principal.organization_id)
        return service.create_ruleset(session, principal, body.given(), body.rule_ids or ())

    ruleset = once(
        make,
        lambda made: queries.get_ruleset(session, made, organization_id=principal.organization_id),
    )
    return _shown(session, [ruleset])[0]


@router.get("/{ruleset_id}", responses=documented(NOT_FOUND))
def get_ruleset(session: SessionDep, principal: PrincipalDep, ruleset_id: RulesetId) -> RulesetView:
    """Read a ruleset."""
    ruleset = queries.get_ruleset(session, ruleset_id, organization_id=principal.organization_id)
    return _shown(session, [ruleset])[0]


@router.patch("/{ruleset_id}", responses=documented(BAD_REQUEST, NOT_FOUND, CONFLICT, TOO_LARGE))
@takes(KeyScope.ADMIN)
def update_ruleset(
    session: SessionDep, principal: PrincipalDep, ruleset_id: RulesetId, body: RulesetUpdate | None = None
) -> RulesetView:
    """Change a ruleset. `rule_ids`, if present, replace all its rules."""
    body = body or RulesetUpdate()
    ruleset = service.change_ruleset(session, principal, ruleset_id, body.given(), body.rule_ids)
    return _shown(session, [ruleset])[0]


@router.delete("/{ruleset_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NOT_FOUND))
@takes(KeyScope.ADMIN)
def delete_ruleset(session: SessionDep, principal: PrincipalDep, ruleset_id: RulesetId) -> None:
    """Delete a ruleset. Its rules stay; assistants with it continue without it."""
    service.delete_ruleset(session, principal, ruleset_id)
