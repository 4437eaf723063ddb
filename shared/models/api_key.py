"""The table of API keys: only the hash of a secret is kept."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Enum, ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, Timestamped


class KeyScope(StrEnum):
    """What a key lets its bearer do; each scope includes the ones before it."""

    READ = "read"  # everything there is to see
    RUN = "run"  # also start and cancel runs, report on them, and write and delete threads
    ADMIN = "admin"  # also change assistants, structures, rules, keys and organizations, and delete runs

    def includes(self, other: "KeyScope") -> bool:
        """Whether a key of this scope may do what takes the other."""
        scopes = list(KeyScope)
        return scopes.index(self) >= scopes.index(other)


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
    has_checksum: Mapped[bool] = mapped_column(server_default="false")  # true for all keys since 0.1
    scope: Mapped[KeyScope] = mapped_column(
        Enum(
            KeyScope,
            native_enum=False,
            create_constraint=True,
            name="scope",
            length=5,
            values_callable=lambda scopes: [scope.value for scope in scopes],
        ),
        server_default="admin",
    )
    last_used_at: Mapped[datetime | None]
    # The key of a structure run is valid while this attempt holds the run.
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    run_attempt: Mapped[int | None]
