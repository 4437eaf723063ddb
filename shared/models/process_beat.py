"""The table of processes' heartbeats."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Enum, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base


class ProcessKind(StrEnum):
    """The kind of a process."""

    WORKER = "worker"
    RECONCILER = "reconciler"


class ProcessBeat(Base):
    """A process and its last heartbeat; a process that stops in good order deletes its row.

    The `holder` of a worker's name is its supervisor, for all processes that the supervisor starts.
    """

    __tablename__ = "process_beats"

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[ProcessKind] = mapped_column(
        Enum(
            ProcessKind,
            native_enum=False,
            create_constraint=True,
            name="kind",
            length=10,
            values_callable=lambda kinds: [kind.value for kind in kinds],
        )
    )
    beat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    holder: Mapped[uuid.UUID | None]
    process: Mapped[str | None]  # host/process id, for operators on that machine
    taken_at: Mapped[datetime | None]
    slots: Mapped[int | None]  # of a worker process; 0 while it drains
    busy: Mapped[int | None]  # slots with a run, of whatever organization
