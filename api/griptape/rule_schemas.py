"""Shapes of rules."""

import uuid
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.griptape.common_schemas import GivenFields
from api.griptape.fields import Instant, Metadata, Name
from api.griptape.pagination import Pagination

RuleText = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class _RuleFields(GivenFields):
    cleared: ClassVar = {"metadata": {}}

    metadata: Metadata | None = None


class RuleCreate(_RuleFields):
    """A new rule."""

    name: Name
    rule: RuleText


class RuleUpdate(_RuleFields):
    """The changes. Absent fields stay."""

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
