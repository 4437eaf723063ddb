"""The table of organizations: each owns everything its members make."""

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, JsonObject, Timestamped


class Organization(Identified, Timestamped, Base):
    """An owner of assistants, runs and keys; nothing is ever seen across organizations."""

    __tablename__ = "organizations"
    __table_args__ = (
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        Index("ix_organizations_tenant", "tenant_id", postgresql_where=text("tenant_id IS NOT NULL")),
    )

    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    default_bucket_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    entitlement: Mapped[str] = mapped_column(server_default="FREE")
    default_models: Mapped[JsonObject | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_by_key: Mapped[uuid.UUID | None]  # which may act on it until it has a key of its own
    tenant_id: Mapped[uuid.UUID | None]
    """The organization by whose key it was made, or which that one belongs to: they are one tenant."""

    is_operators: Mapped[bool] = mapped_column(server_default="false")
    """Whether it was made at the command line: only such a one is known there by its name alone."""
