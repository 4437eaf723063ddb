"""The tables of structures (a user's own programs) and of their deployments."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Enum, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.assistant import LIMITS_ARE_POSITIVE, Limits
from shared.models.base import Base, Identified, JsonObject, Timestamped


class DeploymentStatus(StrEnum):
    """The status of a deployment."""

    SUCCEEDED = "SUCCEEDED"
    ERROR = "ERROR"  # the workers do not execute its code


class RunScope(StrEnum):
    """What the API key of a structure run may do."""

    OWN = "own"  # report on its run, and read it
    RUNS = "runs"  # also start and read runs of the organization


class Structure(Limits, Identified, Timestamped, Base):
    """A user's own program; a run of it is a process.

    A deleted structure keeps its row, so that its runs stay readable.
    """

    __tablename__ = "structures"

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    code: Mapped[JsonObject]  # its source
    env_vars: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")  # name, value, source
    structure_config_file: Mapped[str | None]
    webhook_enabled: Mapped[bool] = mapped_column(server_default="false")
    run_scope: Mapped[RunScope] = mapped_column(
        Enum(
            RunScope,
            native_enum=False,
            create_constraint=True,
            name="run_scope",
            length=4,
            values_callable=lambda scopes: [scope.value for scope in scopes],
        ),
        server_default="own",
    )
    latest_deployment_id: Mapped[uuid.UUID | None]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("organization_id", "id"),
        CheckConstraint(LIMITS_ARE_POSITIVE, name="limits"),
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        Index(
            "ix_structures_page",
            "organization_id",
            text("created_at DESC"),
            "id",
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )


class Deployment(Identified, Timestamped, Base):
    """A structure's code, made ready to run; here this takes no time."""

    __tablename__ = "deployments"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "structure_id"],
            ["structures.organization_id", "structures.id"],
            ondelete="CASCADE",
        ),
        Index("ix_deployments_page", "organization_id", "structure_id", text("created_at DESC"), "id"),
    )

    organization_id: Mapped[uuid.UUID]
    structure_id: Mapped[uuid.UUID]
    status: Mapped[DeploymentStatus] = mapped_column(
        Enum(DeploymentStatus, native_enum=False, create_constraint=True, name="status", length=9)
    )
    status_detail: Mapped[JsonObject | None]
    code_source: Mapped[JsonObject]
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
