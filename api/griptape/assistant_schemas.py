"""The shapes of assistants (contract: griptape §5)."""

import uuid
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.fields import Description, Ids, Instant, Model, Name, optional
from api.griptape.pagination import Pagination

_CLEARED: Final[dict[str, Any]] = {"description": "", "input": None, "model": None}
"""What null makes of a field; for any other field null is the same as absent."""


class _AssistantFields(BaseModel):
    description: Description | None = None
    input: str | None = None
    model: Model | None = None
    knowledge_base_ids: Ids | None = None
    retriever_ids: Ids | None = None
    ruleset_ids: Ids | None = None
    structure_ids: Ids | None = None
    tool_ids: Ids | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set."""
        fields = self.model_dump(exclude_unset=True)
        present = {name: value for name, value in fields.items() if value is not None}
        return present | {name: _CLEARED[name] for name in _CLEARED.keys() & (fields.keys() - present.keys())}


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
    pagination: Pagination
