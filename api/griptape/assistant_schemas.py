"""The shapes of assistants (contract: griptape §5)."""

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.fields import (
    Attempts,
    Description,
    Duration,
    Ids,
    Instant,
    Model,
    Name,
    Seconds,
    UnservedIds,
    given,
    optional,
)
from api.griptape.pagination import AnyPagination
from shared.models import LIMITS


class _AssistantFields(BaseModel):
    description: Description | None = None
    input: str | None = None
    model: Model | None = None
    max_duration: Duration | None = None
    queue_ttl: Duration | None = None
    max_attempts: Attempts | None = None
    knowledge_base_ids: UnservedIds = None
    retriever_ids: UnservedIds = None
    ruleset_ids: Ids | None = None
    structure_ids: Ids | None = None
    tool_ids: UnservedIds = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set."""
        nothing = dict.fromkeys(["input", "model", *LIMITS])
        return given(self, cleared={"description": "", **nothing})


class AssistantCreate(_AssistantFields):
    """A new assistant."""

    name: Name


class AssistantUpdate(_AssistantFields):
    """What is to change; the rest stays."""

    name: Name | None = None


class AssistantView(BaseModel):
    """An assistant."""

    model_config = ConfigDict(from_attributes=True)

    assistant_id: uuid.UUID = Field(validation_alias="id")
    organization_id: uuid.UUID
    name: str
    description: str
    input: str | None = optional()
    model: str | None = optional()
    max_duration: Seconds | None = optional()
    queue_ttl: Seconds | None = optional()
    max_attempts: int | None = optional()
    knowledge_base_ids: list[uuid.UUID]
    retriever_ids: list[uuid.UUID]
    ruleset_ids: list[uuid.UUID]
    structure_ids: list[uuid.UUID]
    tool_ids: list[uuid.UUID]
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant


class AssistantList(BaseModel):
    """A page of assistants."""

    assistants: list[AssistantView]
    pagination: AnyPagination
