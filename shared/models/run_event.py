"""The table of run events: appended, never changed."""

import uuid
from datetime import date, datetime
from typing import Final

from sqlalchemy import CheckConstraint, Enum, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.lifecycle import Origin
from shared.models.base import Base, JsonObject


class RunEvent(Base):
    """Something that happened in a run; `seq` counts from 0 without holes.

    The table has a partition for each day: the day, in UTC, on which the run was created. So all events of a
    run are in one, and a day is dropped at once. Each partition has indexes of its own, made by the
    database: the primary key `(run_id, seq)`, `event_id`, and one last event and one Finish event of a run.
    In place of a foreign key, a trigger on `runs` deletes the events of deleted runs.
    """

    __tablename__ = "run_events"
    __table_args__ = (
        CheckConstraint("seq >= 0", name="seq"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload_is_object"),
        {"postgresql_partition_by": "RANGE (run_day)"},
    )

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[uuid.UUID] = mapped_column(default=uuid.uuid4)
    origin: Mapped[Origin] = mapped_column(
        Enum(Origin, native_enum=False, create_constraint=True, name="origin", length=9)
    )
    type: Mapped[str]
    payload: Mapped[JsonObject]
    timestamp: Mapped[float]
    attempt: Mapped[int | None]  # its attempt; None if an earlier release stored the event
    size: Mapped[int | None]  # bytes of the payload as JSON; None if an earlier release stored the event
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    run_day: Mapped[date] = mapped_column(server_default=text("DATE '0001-01-01'"))


EARLIER_DAY: Final = date.min
"""The day of events that an earlier release stored, whatever their run's."""

RUN_EVENTS: Final = Base.metadata.tables[RunEvent.__tablename__]
"""The table itself, for statements without entities."""
