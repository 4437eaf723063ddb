"""Named reads of rulesets and rules."""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db import Lock, locked
from shared.errors import RuleNotFoundError, RulesetNotFoundError
from shared.models import Rule, Ruleset, RulesetRule
from shared.rows.paging import WHOLE, Page, Part, newest_first, paginate
from shared.rows.single import get_owned


def get_ruleset(
    session: Session, ruleset_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Ruleset:
    """Return a ruleset of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        RulesetNotFoundError: there is none, or it is another organization's.
    """
    owned = Ruleset.organization_id == organization_id
    return get_owned(session, Ruleset, ruleset_id, owned, missing=RulesetNotFoundError, lock=lock)


def get_rule(
    session: Session, rule_id: uuid.UUID, *, organization_id: uuid.UUID, lock: Lock | None = None
) -> Rule:
    """Return a rule of an organization.

    Args:
        lock: hold its row until the transaction ends.

    Raises:
        RuleNotFoundError: there is none, or it is another organization's.
    """
    owned = Rule.organization_id == organization_id
    return get_owned(session, Rule, rule_id, owned, missing=RuleNotFoundError, lock=lock)


def page_of_rulesets(
    session: Session,
    *,
    organization_id: uuid.UUID,
    alias: str | None = None,
    part: Part,
    is_light: bool = False,
) -> Page[Ruleset]:
    """Return an organization's rulesets, newest first; with an alias, the one that has exactly it.

    Args:
        is_light: leave large values unloaded.
    """
    conditions = [Ruleset.organization_id == organization_id]
    if alias is not None:
        conditions.append(Ruleset.alias == alias)
    return newest_first(session, Ruleset, conditions, part, is_light=is_light)


def page_of_rules(
    session: Session,
    *,
    organization_id: uuid.UUID,
    ruleset_id: uuid.UUID | None = None,
    part: Part = WHOLE,
    is_light: bool = False,
) -> Page[Rule]:
    """Return an organization's rules, newest first, or the rules of one ruleset, in its order.

    Args:
        is_light: leave large values unloaded.
    """
    query = select(Rule).where(Rule.organization_id == organization_id)
    if ruleset_id is None:
        query = query.order_by(Rule.created_at.desc(), Rule.id)
    else:
        query = query.join(RulesetRule, RulesetRule.rule_id == Rule.id)
        query = query.where(RulesetRule.ruleset_id == ruleset_id).order_by(RulesetRule.position)
    return paginate(session, query, part, is_light=is_light)


def rule_ids_of(
    session: Session, ruleset_ids: Sequence[uuid.UUID]
) -> Mapping[uuid.UUID, Sequence[uuid.UUID]]:
    """Return the rules of each ruleset, in its order."""
    rows = session.execute(
        select(RulesetRule.ruleset_id, RulesetRule.rule_id)
        .where(RulesetRule.ruleset_id.in_(ruleset_ids))
        .order_by(RulesetRule.ruleset_id, RulesetRule.position)
    )
    found: dict[uuid.UUID, list[uuid.UUID]] = {ruleset_id: [] for ruleset_id in ruleset_ids}
    for ruleset_id, rule_id in rows:
        found[ruleset_id].append(rule_id)
    return found


def missing_rulesets(
    session: Session, ruleset_ids: Sequence[uuid.UUID], *, organization_id: uuid.UUID
) -> list[uuid.UUID]:
    """Return the ids that name no ruleset of the organization, in order."""
    known = set(
        session.scalars(
            select(Ruleset.id).where(Ruleset.id.in_(ruleset_ids), Ruleset.organization_id == organization_id)
        )
    )
    return [ruleset_id for ruleset_id in ruleset_ids if ruleset_id not in known]


def missing_rules(
    session: Session,
    rule_ids: Sequence[uuid.UUID],
    *,
    organization_id: uuid.UUID,
    lock: Lock | None = None,
) -> list[uuid.UUID]:
    """Return the ids that name no rule of the organization, in order.

    Args:
        lock: hold the rows of the others until the transaction ends.
    """
    query = select(Rule.id).where(Rule.id.in_(rule_ids), Rule.organization_id == organization_id)
    known = set(session.scalars(locked(query.order_by(Rule.id), lock, Rule)))
    return [rule_id for rule_id in rule_ids if rule_id not in known]


def rules_in_force(
    session: Session, ruleset_ids: Sequence[uuid.UUID], *, organization_id: uuid.UUID
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the rules of a run: the name of each ruleset with the names and texts of its rules.

    A ruleset that was deleted since the run was accepted is left out.
    """
    rows = session.execute(
        select(Ruleset.id, Ruleset.name).where(
            Ruleset.id.in_(ruleset_ids), Ruleset.organization_id == organization_id
        )
    )
    names = {ruleset_id: name for ruleset_id, name in rows}  # noqa: C416  # rows are no pairs to mypy
    found = []
    for ruleset_id in ruleset_ids:
        if ruleset_id in names:
            rules = page_of_rules(session, organization_id=organization_id, ruleset_id=ruleset_id).rows
            found.append((names[ruleset_id], [(rule.name, rule.rule) for rule in rules]))
    return found
