"""The shapes of users, API keys and organizations (contract: griptape §2 to §4)."""

import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.fields import Instant, LongDescription, Name, given, optional
from api.griptape.pagination import AnyPagination, Pagination
from api.known_keys import UNSERVED
from shared.models import ApiKey, Organization, User


class UserView(BaseModel):
    """A user, and the organizations the caller shares with them."""

    user_id: uuid.UUID
    email: str
    name: str
    organizations: list[uuid.UUID]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, user: User, organizations: list[uuid.UUID]) -> "UserView":
        return cls(
            user_id=user.id,
            email=user.email,
            name=user.name,
            organizations=organizations,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )


class UserList(BaseModel):
    """Users."""

    users: list[UserView]


class MemberView(BaseModel):
    """A user of an organization."""

    model_config = ConfigDict(from_attributes=True)

    user_id: uuid.UUID = Field(validation_alias="id")
    email: str


class MemberList(BaseModel):
    """A page of an organization's users."""

    users: list[MemberView]
    pagination: Pagination


class KeyCreate(BaseModel):
    """A new key."""

    name: Name


class KeyUpdate(BaseModel):
    """What is to change."""

    name: Name | None = None


class KeyView(BaseModel):
    """An API key, without its secret; `last_used` is when it was made until it is used."""

    api_key_id: uuid.UUID
    name: str
    active: bool
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: Instant
    last_used: Instant
    updated_at: Instant

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        return cls(**_key_fields(key))


class NewKeyView(KeyView):
    """An API key with its secret, which is shown this once."""

    value: str

    @classmethod
    def with_secret(cls, key: ApiKey, secret: str) -> "NewKeyView":
        return cls(**_key_fields(key), value=secret)


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {
        "api_key_id": key.id,
        "name": key.name,
        "active": True,
        "organization_id": key.organization_id,
        "created_by": key.user_id,
        "created_at": key.created_at,
        "last_used": key.last_used_at or key.created_at,
        "updated_at": key.updated_at,
    }


class KeyList(BaseModel):
    """A page of keys."""

    api_keys: list[KeyView]
    pagination: AnyPagination


class DefaultModels(BaseModel):
    """The models an organization prefers, by kind."""

    default_chat_model: str | None = optional()
    default_embedding_model: str | None = optional()
    default_image_generation_model: str | None = optional()
    default_rerank_model: str | None = optional()


class OrganizationCreate(BaseModel):
    """A new organization."""

    name: Name
    description: LongDescription | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set, as the table names them."""
        return given(self, cleared={"description": ""})


class OrganizationUpdate(BaseModel):
    """What is to change; the rest stays."""

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
