"""Shapes of API keys."""

import uuid
from typing import Self

from pydantic import BaseModel

from api.griptape.fields import Instant, Name
from api.griptape.pagination import AnyPagination
from shared.models import ApiKey, KeyScope


class KeyCreate(BaseModel):
    """A new key."""

    name: Name
    scope: KeyScope | None = None


class KeyUpdate(BaseModel):
    """The changes."""

    name: Name | None = None


class KeyView(BaseModel):
    """An API key without its secret. Before its first use, `last_used` is its creation."""

    api_key_id: uuid.UUID
    name: str
    active: bool
    scope: KeyScope
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: Instant
    last_used: Instant
    updated_at: Instant

    @classmethod
    def of(cls, key: ApiKey, **secret: str) -> Self:
        return cls(
            api_key_id=key.id,
            name=key.name,
            active=True,
            scope=key.scope,
            organization_id=key.organization_id,
            created_by=key.user_id,
            created_at=key.created_at,
            last_used=key.last_used_at or key.created_at,
            updated_at=key.updated_at,
            **secret,
        )


class NewKeyView(KeyView):
    """A new API key with its secret, which no later answer holds."""

    value: str


class KeyList(BaseModel):
    """A page of keys."""

    api_keys: list[KeyView]
    pagination: AnyPagination
