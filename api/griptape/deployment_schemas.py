"""Shapes of deployments."""

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.griptape.fields import (
    Instant,
    optional,
)
from api.griptape.pagination import AnyPagination
from shared.models import DeploymentStatus, JsonObject


class DeploymentCreate(BaseModel):
    """A new deployment of the structure's present code."""

    force: StrictBool | None = None


class DeploymentView(BaseModel):
    """A deployment of a structure's code."""

    model_config = ConfigDict(from_attributes=True)

    deployment_id: uuid.UUID = Field(validation_alias="id")
    structure_id: uuid.UUID
    status: DeploymentStatus
    status_detail: Any = optional()
    code_source: JsonObject
    created_by: uuid.UUID
    created_at: Instant
    completed_at: Instant = Field(validation_alias="created_at")


class DeploymentList(BaseModel):
    """A page of deployments."""

    deployments: list[DeploymentView]
    pagination: AnyPagination
