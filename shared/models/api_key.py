"""The table of API keys: only the hash of a secret is kept."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, Timestamped


class ApiKey(Identified, Timestamped, Base):
    """A secret that lets its bearer act as one user in one organization."""

    __tablename__ = "api_keys"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["memberships.organization_id", "memberships.user_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("(run_id IS NULL) = (run_attempt IS NULL)", name="of_one_attempt"),
        CheckConstraint("length(secret_sha256) = 32", name="secret_is_sha256"),
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(index=True)
    name: Mapped[str]
    secret_sha256: Mapped[bytes] = mapped_column(unique=True)
    has_checksum: Mapped[bool] = mapped_column(server_default="false")  # as all keys have from 0.1 on
    last_used_at: Mapped[datetime | None]
    run_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("runs.id", ondelete="CASCADE"), index=True
    )  # of a structure run: the key is good while this attempt has the run
    run_attempt: Mapped[int | None]
