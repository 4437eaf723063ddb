"""Rulesets: list, create, read, change, delete (contract: griptape §12)."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api.dependencies import ListsDep, PrincipalDep, QuotasDep, SessionDep
from api.griptape.errors import documented
from api.griptape.fields import Search
from api.griptape.pagination import PartDep
from api.griptape.ruleset_schemas import RulesetCreate, RulesetList, RulesetUpdate, RulesetView
from api.idempotency import OnceDep
from api.path_ids import RulesetId
from api.routing import KeyedRoute
from shared.models import Ruleset
from shared.quotas import Resource
from shared.rulesets import queries, service

router = APIRouter(prefix="/rulesets", tags=["Rulesets"], route_class=KeyedRoute)

_BAD, _UNKNOWN, _LARGE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_TAKEN = HTTPStatus.CONFLICT


@router.get("", response_model=RulesetList, responses=documented(_BAD))
def list_rulesets(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    part: PartDep,
    alias: Annotated[Search | None, Query()] = None,
) -> Response:
    """List rulesets, newest first; `alias` matches exactly."""
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
    responses=documented(_BAD, _TAKEN, _LARGE),
)
def create_ruleset(
    session: SessionDep, principal: PrincipalDep, once: OnceDep, quotas: QuotasDep, body: RulesetCreate
) -> RulesetView:
    """Create a ruleset of rules that exist; an alias is one ruleset's in an organization."""

    def make() -> Ruleset:
        quotas.require_room_for(session, Resource.RULESET, principal.organization_id)
        return service.create_ruleset(session, principal, body.given(), body.rule_ids or ())

    ruleset = once(
        make,
        lambda made: queries.get_ruleset(session, made, organization_id=principal.organization_id),
    )
    return _view(session, ruleset)


@router.get("/{ruleset_id}", responses=documented(_UNKNOWN))
def get_ruleset(session: SessionDep, principal: PrincipalDep, ruleset_id: RulesetId) -> RulesetView:
    """Read a ruleset."""
    return _view(session, queries.get_ruleset(session, ruleset_id, organization_id=principal.organization_id))


@router.patch("/{ruleset_id}", responses=documented(_BAD, _UNKNOWN, _TAKEN, _LARGE))
def update_ruleset(
    session: SessionDep, principal: PrincipalDep, ruleset_id: RulesetId, body: RulesetUpdate | None = None
) -> RulesetView:
    """Change a ruleset; `rule_ids`, if present, replace all of its rules."""
    body = body or RulesetUpdate()
    ruleset = service.change_ruleset(session, principal, ruleset_id, body.given(), body.rule_ids)
    return _view(session, ruleset)


@router.delete("/{ruleset_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(_UNKNOWN))
def delete_ruleset(session: SessionDep, principal: PrincipalDep, ruleset_id: RulesetId) -> None:
    """Delete a ruleset; its rules stay, and assistants that name it go on without it."""
    service.delete_ruleset(session, principal, ruleset_id)


def _view(session: SessionDep, ruleset: Ruleset) -> RulesetView:
    return RulesetView.of(ruleset, queries.rule_ids_of(session, [ruleset.id])[ruleset.id])
