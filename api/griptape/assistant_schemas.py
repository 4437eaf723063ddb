"""The shapes of assistants."""

import uuid
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.common_schemas import GivenFields, LimitFields, ResourceFields, ShownLimits, ShownResources
from api.griptape.fields import (
    Description,
    Instant,
    Model,
    Name,
    optional,
)
from api.griptape.pagination import AnyPagination
from api.requests.metadata import SmallMap
from shared.models import LIMITS


class _AssistantFields(GivenFields, LimitFields, ResourceFields):
    cleared: ClassVar = {"description": "", "metadata": {}, **dict.fromkeys(["input", "model", *LIMITS])}

    description: Description | None = None
    input: str | None = None
    model: Model | None = None
    metadata: SmallMap | None = None


class AssistantCreate(_AssistantFields):
    """A new assistant."""

    name: Name


class AssistantUpdate(_AssistantFields):
    """The changes. Absent fields stay."""

    name: Name | None = None


class _AssistantHead(BaseModel):
    assistant_id: uuid.UUID = Field(validation_alias="id")
    organization_id: uuid.UUID
    name: str
    description: str
    input: str | None = optional()
    model: str | None = optional()
    metadata: dict[str, str] = Field(validation_alias="meta")


class AssistantView(ShownResources, ShownLimits, _AssistantHead):
    """An assistant."""

    model_config = ConfigDict(from_attributes=True)

    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant


class AssistantList(BaseModel):
    """A page of assistants."""

    assistants: list[AssistantView]
    pagination: AnyPagination
