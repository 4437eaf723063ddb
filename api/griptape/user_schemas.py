"""Shapes of users."""

import uuid

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.fields import Instant
from api.griptape.pagination import Pagination
from shared.models import User


class UserView(BaseModel):
    """A user and the organizations shared with the caller."""

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
