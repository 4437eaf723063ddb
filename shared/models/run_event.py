"""The table of run events: appended, never changed."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, JsonObject


class Origin(StrEnum):
    """Who speaks in an event."""

    ASSISTANT = "ASSISTANT"  # what is being executed
    SYSTEM = "SYSTEM"  # the platform, about the run's life
    USER = "USER"  # a caller's own code


RUN_RUNNING = "AssistantRunRunning"
"""The type of the event with which an attempt of an assistant run begins to execute it."""

RUN_COMPLETED = "AssistantRunCompleted"
"""The type of an assistant run's last event."""

LAST_TYPES = (RUN_COMPLETED, "StructureRunCompleted")
"""The types of a run's last event, of either kind of run."""

STRUCTURE_RUN_STARTING = "StructureRunStarting"
"""The type of the event with which an attempt of a structure run begins."""

START = "StartStructureRunEvent"
"""The type of the framework's event with which an agent, a pipeline or a workflow begins."""

FINISH = "FinishStructureRunEvent"
"""The type of the framework's event that carries the answer."""

TEXT_CHUNK = "TextChunkEvent"
"""The type of the framework's event that carries some text of an answer."""

REPEATED_TEXT = "RepeatedTextChunkEvent"
"""What the payload of a text chunk calls itself if an earlier attempt has shown the same text there.

Clients that build the framework's events from payloads know no such type and leave it out, so that the
text they have shown already is not shown twice.
"""

FINISH_PROMPT = "FinishPromptEvent"
"""The type of the framework's event that tells what a model call has used."""


class RunEvent(Base):
    """Something that happened in a run; `seq` counts from 0 without holes."""

    __tablename__ = "run_events"
    __table_args__ = (
        CheckConstraint("seq >= 0", name="seq"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_is_object"),
        Index(
            "uq_run_events_completed",
            "run_id",
            unique=True,
            postgresql_where=text(f"type IN {LAST_TYPES} AND origin = 'SYSTEM'"),
        ),
        Index(
            "uq_run_events_finish",
            "run_id",
            unique=True,
            postgresql_where=text(f"type = '{FINISH}' AND origin = 'ASSISTANT'"),
        ),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4, unique=True)
    origin: Mapped[Origin] = mapped_column(
        Enum(Origin, native_enum=False, create_constraint=True, name="origin", length=9)
    )
    type: Mapped[str]
    payload: Mapped[JsonObject]
    timestamp: Mapped[float]
    attempt: Mapped[int | None]  # that it belongs to; None of an event that an earlier release stored
    size: Mapped[int | None]  # bytes of the payload as JSON; of an older event it has to be measured
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
