"""Moves of several runs in one statement: what is done with each run, and the run afterwards."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.events.log import Batch
from shared.lifecycle import RunKind, RunStatus, StatusDetail, StoppedHow
from shared.models import JsonObject, Run


@dataclass(frozen=True, slots=True)
class Move:
    """A move of one run in a batch."""

    run_id: uuid.UUID
    attempt: int
    detail: StatusDetail | None = None
    output: Any = None  # None keeps what the row has, as with `usage`
    usage: JsonObject | None = None
    worker: str | None = None
    process: str | None = None
    leading: Batch | None = None  # events of the attempt, to be stored before those of the move


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop of a cancelled run's work, for its receipt."""

    run_id: uuid.UUID
    attempt: int
    how: StoppedHow
    usage: JsonObject | None = None


TOGETHER_BYTES: Final = 131_072
"""Bytes that are stored of a run which is cancelled together with others: they are in memory all at once."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A caller's cancel of a run of an organization."""

    run_id: uuid.UUID
    organization_id: uuid.UUID
    requested_by: str  # who is named in the receipt


class MovedRun(NamedTuple):
    """A run as a move has left it: the columns that its events and its task's state are made from."""

    id: uuid.UUID
    organization_id: uuid.UUID
    assistant_id: uuid.UUID | None
    structure_id: uuid.UUID | None
    status: RunStatus
    status_detail: JsonObject | None
    output: Any | None
    attempt: int
    event_count: int
    worker: str | None
    is_stopping: bool
    is_external: bool
    waits_for_thread: bool
    queued_at: datetime
    updated_at: datetime  # the instant of the move
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def kind(self) -> RunKind:
        return RunKind.ASSISTANT if self.structure_id is None else RunKind.STRUCTURE


MOVED_COLUMNS: Final = tuple(getattr(Run, name) for name in MovedRun._fields)
