"""Heartbeats of processes, by the clock of the database, and the ownership of worker names."""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.models import ProcessBeat, ProcessKind

FORGOTTEN_AFTER: Final = timedelta(minutes=15)
"""How long a silent process is remembered."""


@dataclass(frozen=True, slots=True)
class Load:
    """The slots of a worker process, and those with a run; a drain leaves it no slots."""

    slots: int
    busy: int


def beat(
    session: Session,
    name: str,
    kind: ProcessKind,
    *,
    holder: uuid.UUID | None = None,
    load: Load | None = None,
) -> bool:
    """Store a heartbeat.

    Args:
        load: of a worker process, as far as it knows it.

    Returns:
        Whether the process still holds its name: another holder may have taken it during a silence.
    """
    said = insert(ProcessBeat).values(
        name=name, kind=kind, beat_at=func.now(), holder=holder, process=this_process(), **_of(load)
    )
    kept = said.on_conflict_do_update(
        index_elements=["name"],
        set_={"beat_at": func.now(), **_of(load)},
        where=ProcessBeat.holder.is_not_distinct_from(said.excluded.holder),
    )
    return session.scalar(kept.returning(ProcessBeat.name)) is not None


def _of(load: Load | None) -> dict[str, int | None]:
    return {"slots": None, "busy": None} if load is None else {"slots": load.slots, "busy": load.busy}


def leave(session: Session, name: str, *, holder: uuid.UUID | None = None) -> None:
    """Delete the heartbeat of a process that ends regularly."""
    own = ProcessBeat.holder.is_not_distinct_from(holder)
    session.execute(delete(ProcessBeat).where(ProcessBeat.name == name, own))


@dataclass(frozen=True, slots=True)
class Holding:
    """The holder of a name: seconds since it took the name, and since its last heartbeat."""

    holder: uuid.UUID | None
    process: str | None
    held_for: float | None
    silent_for: float


def find_holding(session: Session, name: str) -> Holding | None:
    """Return the holder of a name, even a silent one; None if the name is free."""
    since = [func.extract("epoch", func.now() - at) for at in (ProcessBeat.taken_at, ProcessBeat.beat_at)]
    query = select(ProcessBeat.holder, ProcessBeat.process, *since).where(ProcessBeat.name == name)
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    return Holding(row[0], row[1], None if row[2] is None else float(row[2]), float(row[3]))


def take(session: Session, name: str, *, holder: uuid.UUID, seen: Holding | None) -> bool:
    """Take the name of a worker, unless another process was faster.

    Args:
        holder: the id of the process that takes the name.
        seen: the holding that the caller has seen last; None if the name was free.

    Returns:
        Whether `holder` has the name now.
    """
    taken = insert(ProcessBeat).values(
        name=name,
        kind=ProcessKind.WORKER,
        beat_at=func.now(),
        holder=holder,
        process=this_process(),
        taken_at=func.now(),
    )
    columns = ("kind", "beat_at", "holder", "process", "taken_at")
    if seen is None:
        taken = taken.on_conflict_do_nothing()
    else:
        taken = taken.on_conflict_do_update(
            index_elements=["name"],
            set_={column: taken.excluded[column] for column in columns},
            where=ProcessBeat.holder.is_not_distinct_from(seen.holder),
        )
    return session.scalar(taken.returning(ProcessBeat.name)) is not None


def this_process() -> str:
    """This process, as host/process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


def forget_silent(session: Session) -> None:
    """Delete the heartbeats of processes that fell silent long ago."""
    session.execute(delete(ProcessBeat).where(ProcessBeat.beat_at < func.now() - FORGOTTEN_AFTER))


@dataclass(frozen=True, slots=True)
class Heard:
    """A process, and the seconds since its last heartbeat."""

    name: str
    seconds_ago: float
    load: Load | None = None  # of a worker, at its last heartbeat


def latest(session: Session, kind: ProcessKind) -> Heard | None:
    """Return the process of a kind with the latest heartbeat, or None."""
    row = session.execute(_heard(kind).order_by(ProcessBeat.beat_at.desc()).limit(1)).one_or_none()
    return None if row is None else _told(row)


def silent(session: Session, kind: ProcessKind, *, after: float, limit: int) -> list[Heard]:
    """Return the processes of a kind that are silent for `after` seconds, the latest first."""
    last = func.now() - timedelta(seconds=after)
    found = _heard(kind).where(ProcessBeat.beat_at < last).order_by(ProcessBeat.beat_at.desc()).limit(limit)
    return list(map(_told, session.execute(found)))


def heard(session: Session, kind: ProcessKind, *, limit: int) -> list[Heard]:
    """Return the processes of a kind, the one with the latest heartbeat first."""
    found = _heard(kind).order_by(ProcessBeat.beat_at.desc(), ProcessBeat.name).limit(limit)
    return list(map(_told, session.execute(found)))


def count_heard(session: Session, kind: ProcessKind, *, within: timedelta) -> int:
    """Count the processes of a kind with a heartbeat in the last time `within`."""
    query = select(func.count()).where(ProcessBeat.kind == kind, ProcessBeat.beat_at >= func.now() - within)
    return session.scalar(query) or 0


def _heard(kind: ProcessKind) -> Select[*tuple[Any, ...]]:
    since = func.extract("epoch", func.now() - ProcessBeat.beat_at)
    return select(ProcessBeat.name, since, ProcessBeat.slots, ProcessBeat.busy).where(
        ProcessBeat.kind == kind
    )


def _told(row: Row[*tuple[Any, ...]]) -> Heard:
    name, seconds, slots, busy = row
    return Heard(name, float(seconds), None if slots is None or busy is None else Load(slots, busy))
