"""Use cases of rulesets and rules: create, change, delete."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.errors import InvalidRequestError
from shared.keys.principal import Principal
from shared.models import Rule, Ruleset, RulesetRule
from shared.organizations.queries import hold_organization
from shared.rows import single as rows
from shared.rulesets.queries import get_rule, get_ruleset, missing_rules


def create_ruleset(
    session: Session, principal: Principal, fields: Mapping[str, Any], rule_ids: Sequence[uuid.UUID] = ()
) -> Ruleset:
    """Create a ruleset from `name`, `alias`, `description` and `meta`.

    Raises:
        InvalidRequestError: a rule does not exist in the principal's organization.
        ConflictError: another ruleset of the organization has that alias.
    """
    ruleset = Ruleset(
        id=uuid.uuid4(),
        organization_id=principal.organization_id,
        created_by=principal.user_id,
        **fields,
    )
    hold_organization(session, principal.organization_id, Lock.REFERENCE)
    wanted = _hold_rules(session, principal, rule_ids)
    session.add(ruleset)
    rows.flush_alias(session, ruleset)
    _list_rules(session, ruleset.id, wanted)
    session.refresh(ruleset)
    return ruleset


def change_ruleset(
    session: Session,
    principal: Principal,
    ruleset_id: uuid.UUID,
    fields: Mapping[str, Any],
    rule_ids: Sequence[uuid.UUID] | None = None,
) -> Ruleset:
    """Set the given fields of a ruleset; `rule_ids`, if given, replace its rules.

    Raises:
        RulesetNotFoundError: there is no such ruleset in the principal's organization.
        InvalidRequestError, ConflictError: as `create_ruleset`.
    """
    wanted = None if rule_ids is None else _hold_rules(session, principal, rule_ids)
    ruleset = get_ruleset(session, ruleset_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    rows.set_fields(ruleset, {**fields, "updated_at": func.now()})
    rows.flush_alias(session, ruleset)
    if wanted is not None:
        _unlist(session, RulesetRule.ruleset_id == ruleset_id)
        _list_rules(session, ruleset_id, wanted)
    session.refresh(ruleset)
    return ruleset


def delete_ruleset(session: Session, principal: Principal, ruleset_id: uuid.UUID) -> None:
    """Delete a ruleset; its rules stay, and assistants with it continue without it.

    Raises:
        RulesetNotFoundError: there is no such ruleset in the principal's organization.
    """
    ruleset = get_ruleset(session, ruleset_id, organization_id=principal.organization_id, lock=Lock.REMOVAL)
    _unlist(session, RulesetRule.ruleset_id == ruleset_id)
    session.delete(ruleset)


def create_rule(session: Session, principal: Principal, fields: Mapping[str, Any]) -> Rule:
    """Create a rule from `name`, `rule` and `meta`."""
    rule = Rule(organization_id=principal.organization_id, created_by=principal.user_id, **fields)
    return rows.store(session, rule)


def change_rule(
    session: Session, principal: Principal, rule_id: uuid.UUID, fields: Mapping[str, Any]
) -> Rule:
    """Set the given fields of a rule.

    Raises:
        RuleNotFoundError: there is no such rule in the principal's organization.
    """
    rule = get_rule(session, rule_id, organization_id=principal.organization_id, lock=Lock.CHANGE)
    return rows.change(session, rule, fields)


def delete_rule(session: Session, principal: Principal, rule_id: uuid.UUID) -> None:
    """Delete a rule and remove it from every ruleset.

    Raises:
        RuleNotFoundError: there is no such rule in the principal's organization.
    """
    rule = get_rule(session, rule_id, organization_id=principal.organization_id, lock=Lock.REMOVAL)
    _unlist(session, RulesetRule.rule_id == rule_id)
    session.delete(rule)


def _hold_rules(session: Session, principal: Principal, rule_ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Hold the rules that a ruleset is to list; return them, each once.

    Raises:
        InvalidRequestError: a rule does not exist in the principal's organization.
    """
    wanted = list(dict.fromkeys(rule_ids))
    missing = missing_rules(session, wanted, organization_id=principal.organization_id, lock=Lock.REFERENCE)
    if missing:
        message = f"There is no such rule: {missing[0]}."
        raise InvalidRequestError(message, path=("rule_ids",))
    return wanted


def _list_rules(session: Session, ruleset_id: uuid.UUID, rule_ids: Sequence[uuid.UUID]) -> None:
    session.add_all(
        RulesetRule(ruleset_id=ruleset_id, rule_id=rule_id, position=position)
        for position, rule_id in enumerate(rule_ids)
    )
    session.flush()


def _unlist(session: Session, which: ColumnElement[bool]) -> None:
    """Delete places of rules in rulesets, in the order in which everybody locks them."""
    places = select(RulesetRule.rule_id).where(which).order_by(RulesetRule.ruleset_id, RulesetRule.rule_id)
    session.execute(Lock.REMOVAL(places, RulesetRule))
    session.execute(sql_delete(RulesetRule).where(which))
