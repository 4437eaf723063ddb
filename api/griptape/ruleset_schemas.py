"""Shapes of rulesets."""

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from api.griptape.common_schemas import GivenFields
from api.griptape.fields import Alias, Description, Ids, Instant, Metadata, Name
from api.griptape.pagination import AnyPagination
from shared.models import Ruleset


class _RulesetFields(GivenFields):
    cleared: ClassVar = {"alias": None, "description": "", "metadata": {}}
    no_columns = frozenset({"rule_ids"})

    alias: Alias | None = None
    description: Description | None = None
    rule_ids: Ids | None = None
    metadata: Metadata | None = None


class RulesetCreate(_RulesetFields):
    """A new ruleset."""

    name: Name


class RulesetUpdate(_RulesetFields):
    """The changes. Absent fields stay; `rule_ids` replace all rules."""

    name: Name | None = None


class RulesetView(BaseModel):
    """A ruleset and its rules, in order."""

    ruleset_id: uuid.UUID
    name: str
    alias: str
    description: str
    rule_ids: list[uuid.UUID]
    metadata: dict[str, Any]
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, ruleset: Ruleset, rule_ids: Sequence[uuid.UUID]) -> "RulesetView":
        return cls(
            ruleset_id=ruleset.id,
            name=ruleset.name,
            alias=ruleset.alias or "",
            description=ruleset.description,
            rule_ids=list(rule_ids),
            metadata=ruleset.meta,
            organization_id=ruleset.organization_id,
            created_by=ruleset.created_by,
            created_at=ruleset.created_at,
            updated_at=ruleset.updated_at,
        )


class RulesetList(BaseModel):
    """A page of rulesets."""

    rulesets: list[RulesetView]
    pagination: AnyPagination
