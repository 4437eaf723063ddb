"""The table of assistants."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, JsonObject, Timestamped


class Resources:
    """The ids of the resources of an assistant, or of a run, in order."""

    knowledge_base_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    retriever_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    ruleset_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    structure_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    tool_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")


RESOURCE_LISTS = (
    "knowledge_base_ids",
    "retriever_ids",
    "ruleset_ids",
    "structure_ids",
    "tool_ids",
)
"""The names of the columns of `Resources`."""

UNSERVED_LISTS = ("knowledge_base_ids", "retriever_ids", "tool_ids")
"""The lists without resources in this release: they are stored, and not used."""


class Limits:
    """The limits of a run. Null means the next one: of the run's assistant, then of the settings."""

    max_duration: Mapped[timedelta | None]  # how long it may be RUNNING
    queue_ttl: Mapped[timedelta | None]  # how long it may stay QUEUED
    max_attempts: Mapped[
        int | None
    ]  # before and while RUNNING: a second attempt may repeat the effects of tools


LIMITS = ("max_duration", "queue_ttl", "max_attempts")
"""The names of the columns of `Limits`."""

LIMITS_ARE_POSITIVE = "max_duration > interval '0' AND queue_ttl > interval '0' AND max_attempts > 0"


class Assistant(Resources, Limits, Identified, Timestamped, Base):
    """A caller's configuration of runs.

    A deleted assistant keeps its row, so that its runs stay readable; it can neither be read nor run.
    """

    __tablename__ = "assistants"

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    input: Mapped[str | None]
    model: Mapped[str | None]
    meta: Mapped[JsonObject] = mapped_column("metadata", server_default="{}")  # what its caller noted
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        # What a run refers to, so that no run can belong to another organization than its assistant.
        UniqueConstraint("organization_id", "id"),
        CheckConstraint(LIMITS_ARE_POSITIVE, name="limits"),
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        Index(
            "ix_assistants_page",
            "organization_id",
            text("created_at DESC"),
            "id",
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )
