"""The table by which runs are found by what their callers noted of them."""

import uuid
from datetime import datetime

from sqlalchemy import Enum, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base
from shared.runs.lifecycle import RunKind


class RunMetadata(Base):
    """One key of a run's metadata, which never changes; the run itself has them all, to be shown.

    What else lists go by is the run's own and never changes either, so that each list is in order within an
    index; and what other organizations note does not make it slow.
    """

    __tablename__ = "run_metadata"
    __table_args__ = (
        Index("ix_run_metadata_kind", "organization_id", "key", "value", "kind", "created_at", "run_id"),
        Index("ix_run_metadata_subject", "subject_id", "key", "value", text("created_at DESC"), "run_id"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    organization_id: Mapped[uuid.UUID]
    subject_id: Mapped[uuid.UUID]
    kind: Mapped[RunKind] = mapped_column(
        Enum(RunKind, native_enum=False, name="kind", length=9, values_callable=list)
    )
    created_at: Mapped[datetime]
