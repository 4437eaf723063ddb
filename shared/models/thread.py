"""The tables of threads and of their messages."""

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, JsonObject, Timestamped


class Thread(Identified, Timestamped, Base):
    """A conversation. Its row is the lock for putting runs on it and taking them off."""

    __tablename__ = "threads"

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    name: Mapped[str]
    alias: Mapped[str | None]
    meta: Mapped[JsonObject] = mapped_column("metadata", server_default="{}")
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))

    __table_args__ = (
        # Runs refer to both columns, so that no run is on another organization's thread.
        UniqueConstraint("organization_id", "id"),
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        CheckConstraint("length(alias) between 1 and 200", name="alias_length"),
        CheckConstraint("jsonb_typeof(metadata) = 'object'", name="metadata_is_object"),
        Index("uq_threads_alias", "organization_id", "alias", unique=True),
        Index("ix_threads_page", "organization_id", text("created_at DESC"), "id"),
    )


class Message(Identified, Timestamped, Base):
    """A message of a thread: an input and the output that answers it; `index` orders them."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("thread_id", "index"),
        CheckConstraint("index >= 0", name="index"),
        CheckConstraint("jsonb_typeof(metadata) = 'object'", name="metadata_is_object"),
    )

    thread_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"))
    index: Mapped[int]
    input: Mapped[str]
    output: Mapped[str]
    meta: Mapped[JsonObject] = mapped_column("metadata", server_default="{}")
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
