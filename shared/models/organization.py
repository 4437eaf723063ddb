"""The table of organizations: each owns everything that its members create."""

import uuid
from datetime import timedelta

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, JsonObject, Timestamped


class Organization(Identified, Timestamped, Base):
    """An owner of assistants, runs and keys; no member of another organization sees them."""

    __tablename__ = "organizations"
    __table_args__ = (
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        CheckConstraint(
            "retention_runs >= interval '0' AND retention_threads >= interval '0'", name="retention"
        ),
        Index("ix_organizations_tenant", "tenant_id", postgresql_where=text("tenant_id IS NOT NULL")),
    )

    name: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    default_bucket_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    entitlement: Mapped[str] = mapped_column(server_default="FREE")
    default_models: Mapped[JsonObject | None]
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_by_key: Mapped[uuid.UUID | None]  # that key may act on it until it has its own
    tenant_id: Mapped[uuid.UUID | None]
    """The organization whose key created it, or that one's tenant: together they are one tenant."""

    is_operators: Mapped[bool] = mapped_column(server_default="false")
    """Whether it was created at the command line: only there its name alone identifies it."""

    retention_runs: Mapped[timedelta | None]
    """For how long ended runs are kept: zero for ever, None as the settings say."""

    retention_threads: Mapped[timedelta | None]
    """For how long idle threads are kept, likewise."""
