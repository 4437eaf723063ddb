"""The tables of metadata, a row for each pair: lists find runs, assistants and threads by them."""

import uuid
from datetime import datetime

from sqlalchemy import Enum, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, synonym

from shared.lifecycle import RunKind
from shared.models.base import Base


class Pair:
    """One key of what a caller noted of a row; the row itself has them all, to be shown.

    What else lists go by is here too and never changes, so that each list is in order within an index; and
    what other organizations note does not make it slow.
    """

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    organization_id: Mapped[uuid.UUID]
    created_at: Mapped[datetime]  # of the row


class RunMetadata(Pair, Base):
    """One key of a run's metadata, which never changes."""

    __tablename__ = "run_metadata"
    __table_args__ = (
        Index("ix_run_metadata_kind", "organization_id", "key", "value", "kind", "created_at", "run_id"),
        Index("ix_run_metadata_subject", "subject_id", "key", "value", text("created_at DESC"), "run_id"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    owner_id: Mapped[uuid.UUID] = synonym("run_id")
    subject_id: Mapped[uuid.UUID]
    kind: Mapped[RunKind] = mapped_column(
        Enum(RunKind, native_enum=False, name="kind", length=9, values_callable=list)
    )


class AssistantMetadata(Pair, Base):
    """One key of an assistant's metadata; a deleted assistant has none here."""

    __tablename__ = "assistant_metadata"
    __table_args__ = (
        Index(
            "ix_assistant_metadata_page",
            "organization_id",
            "key",
            "value",
            text("created_at DESC"),
            "assistant_id",
        ),
    )

    assistant_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("assistants.id", ondelete="CASCADE"), primary_key=True
    )
    owner_id: Mapped[uuid.UUID] = synonym("assistant_id")


class ThreadMetadata(Pair, Base):
    """One short text of a thread's metadata; a thread may have other values, which no list goes by."""

    __tablename__ = "thread_metadata"
    __table_args__ = (
        Index(
            "ix_thread_metadata_page",
            "organization_id",
            "key",
            "value",
            text("created_at DESC"),
            "thread_id",
        ),
    )

    thread_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("threads.id", ondelete="CASCADE"), primary_key=True
    )
    owner_id: Mapped[uuid.UUID] = synonym("thread_id")
