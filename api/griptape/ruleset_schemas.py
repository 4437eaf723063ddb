"""The shapes of rulesets and rules (contract: griptape §12, §13)."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.griptape.fields import Alias, Description, Ids, Instant, Metadata, Name, given
from api.griptape.pagination import AnyPagination, Pagination
from shared.models import Ruleset

RuleText = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class _RulesetFields(BaseModel):
    alias: Alias | None = None
    description: Description | None = None
    rule_ids: Ids | None = None
    metadata: Metadata | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set, as the table names them."""
        cleared: dict[str, Any] = {"alias": None, "description": "", "metadata": {}}
        return given(self, but={"rule_ids"}, cleared=cleared)


class RulesetCreate(_RulesetFields):
    """A new ruleset."""

    name: Name


class RulesetUpdate(_RulesetFields):
    """What is to change; rules, if present, replace all there are."""

    name: Name | None = None


class RulesetView(BaseModel):
    """A ruleset and its rules, in their order."""

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


class _RuleFields(BaseModel):
    metadata: Metadata | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set, as the table names them."""
        return given(self, cleared={"metadata": {}})


class RuleCreate(_RuleFields):
    """A new rule."""

    name: Name
    rule: RuleText


class RuleUpdate(_RuleFields):
    """What is to change; the rest stays."""

    name: Name | None = None
    rule: RuleText | None = None


class RuleView(BaseModel):
    """A rule."""

    model_config = ConfigDict(from_attributes=True)

    rule_id: uuid.UUID = Field(validation_alias="id")
    name: str
    rule: str
    metadata: dict[str, Any] = Field(validation_alias="meta")
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant


class RuleList(BaseModel):
    """A page of rules."""

    rules: list[RuleView]
    pagination: Pagination
