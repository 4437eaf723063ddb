"""The table of the numbers and bytes of ended runs; only triggers on `runs` write it."""

import uuid

from sqlalchemy import BigInteger, CheckConstraint, Enum, ForeignKey, Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.lifecycle import RunStatus
from shared.models.base import Base


class RunTally(Base):
    """A part of the number, and of the bytes, of runs of one assistant or structure that ended in one status.

    Number and bytes are the sums of the parts; one part may be negative. Who ends a run adds to any part
    that nobody else is changing, or starts a new one: so nobody ever waits, and there are never more parts
    than there were transactions at once. Runs that have not ended are few, and counted where they are.
    """

    __tablename__ = "run_tallies"
    __table_args__ = (
        CheckConstraint("status IN ('CANCELLED', 'ERROR', 'FAILED', 'SUCCEEDED')", name="ended"),
        Index("ix_run_tallies_status", "organization_id", "subject_id", "status"),
        {
            "postgresql_with": {"fillfactor": 50}
        },  # room for the next number beside the last: a heap-only update
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    subject_id: Mapped[uuid.UUID]  # the assistant or the structure
    status: Mapped[RunStatus] = mapped_column(Enum(RunStatus, native_enum=False, name="status", length=9))
    runs: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")  # of runs, their events and spans
