"""The tables of a structure run's lines of output, and of its spans."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, JsonObject


class RunLogLine(Base):
    """A line of output of a run's program; `seq` counts from 0 without holes."""

    __tablename__ = "run_log_lines"
    __table_args__ = (
        CheckConstraint("seq >= 0", name="seq"),
        CheckConstraint("stream IN ('stdout', 'stderr')", name="stream"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stream: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class RunSpan(Base):
    """A span as a run's own tracing posted it."""

    __tablename__ = "run_spans"
    __table_args__ = (Index("uq_run_spans_span", "run_id", "span_id", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    span_id: Mapped[str]
    span: Mapped[JsonObject]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
