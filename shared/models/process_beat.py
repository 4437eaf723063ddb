"""The table of processes that say they are there."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Enum, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base


class ProcessKind(StrEnum):
    """What a process is for."""

    WORKER = "worker"
    RECONCILER = "reconciler"


class ProcessBeat(Base):
    """A process, and when it last said that it goes on; one that stops in good order takes its row along.

    The `holder` of a worker's name is its supervisor, for all of the processes that it starts under it.
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
    process: Mapped[str | None]  # host/process id: where it is, for who is on that machine
    taken_at: Mapped[datetime | None]
