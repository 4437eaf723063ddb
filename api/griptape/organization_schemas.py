"""Shapes of organizations."""

import uuid
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field

from api.griptape.common_schemas import GivenFields
from api.griptape.fields import Instant, LongDescription, Name, optional
from api.requests.known_keys import UNSERVED
from shared.models import Organization


class DefaultModels(BaseModel):
    """The models an organization prefers, by kind."""

    default_chat_model: str | None = optional()
    default_embedding_model: str | None = optional()
    default_image_generation_model: str | None = optional()
    default_rerank_model: str | None = optional()


class OrganizationCreate(GivenFields):
    """A new organization."""

    cleared: ClassVar = {"description": ""}

    name: Name
    description: LongDescription | None = None


class OrganizationUpdate(BaseModel):
    """The changes. Absent fields stay."""

    name: Name | None = None
    preferences: Annotated[DefaultModels | None, UNSERVED] = Field(default=None, alias="model_config")

    def given(self) -> dict[str, Any]:
        """The fields the caller set, as the table names them."""
        fields: dict[str, Any] = {} if self.name is None else {"name": self.name}
        if self.preferences is not None:
            fields["default_models"] = self.preferences.model_dump(exclude_none=True)
        return fields


class OrganizationView(BaseModel):
    """An organization."""

    organization_id: uuid.UUID
    name: str
    description: str
    default_bucket_id: uuid.UUID
    entitlement: str
    created_by: str
    created_at: Instant
    updated_at: Instant
    preferences: DefaultModels | None = Field(
        default=None, alias="model_config", exclude_if=lambda value: value is None
    )

    @classmethod
    def of(cls, organization: Organization) -> "OrganizationView":
        preferences = organization.default_models
        return cls(
            organization_id=organization.id,
            name=organization.name,
            description=organization.description,
            default_bucket_id=organization.default_bucket_id,
            entitlement=organization.entitlement,
            created_by=str(organization.created_by or ""),
            created_at=organization.created_at,
            updated_at=organization.updated_at,
            model_config=None if preferences is None else DefaultModels(**preferences),
        )


class OrganizationList(BaseModel):
    """Organizations."""

    organizations: list[OrganizationView]
