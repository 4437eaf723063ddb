"""Processes that say they are there, by the database's clock: what tells a silent one from none."""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.models import ProcessBeat, ProcessKind

FORGOTTEN_AFTER: Final = timedelta(minutes=15)
"""For how long somebody may still want to know that a process fell silent."""


def beat(session: Session, name: str, kind: ProcessKind, *, holder: uuid.UUID | None = None) -> bool:
    """Say that a process goes on.

    Returns:
        Whether its name is still its own: another holder may have taken it while it was silent.
    """
    said = insert(ProcessBeat).values(
        name=name, kind=kind, beat_at=func.now(), holder=holder, process=this_process()
    )
    kept = said.on_conflict_do_update(
        index_elements=["name"],
        set_={"beat_at": func.now()},
        where=ProcessBeat.holder.is_not_distinct_from(said.excluded.holder),
    )
    return session.scalar(kept.returning(ProcessBeat.name)) is not None


def leave(session: Session, name: str, *, holder: uuid.UUID | None = None) -> None:
    """Say that a process ends in good order; one that has said nothing leaves nothing."""
    own = ProcessBeat.holder.is_not_distinct_from(holder)
    session.execute(delete(ProcessBeat).where(ProcessBeat.name == name, own))


@dataclass(frozen=True, slots=True)
class Holding:
    """Who has a name, and for how many seconds; and the seconds since it was heard of."""

    holder: uuid.UUID | None
    process: str | None
    held_for: float | None
    silent_for: float


def find_holding(session: Session, name: str) -> Holding | None:
    """Return who has a name, be it silent; None if nobody has."""
    since = [func.extract("epoch", func.now() - at) for at in (ProcessBeat.taken_at, ProcessBeat.beat_at)]
    query = select(ProcessBeat.holder, ProcessBeat.process, *since).where(ProcessBeat.name == name)
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    return Holding(row[0], row[1], None if row[2] is None else float(row[2]), float(row[3]))


def take(session: Session, name: str, *, holder: uuid.UUID, seen: Holding | None) -> bool:
    """Have the name of a worker for `holder`, unless somebody else came first.

    Args:
        seen: who had it when it was looked at last.

    Returns:
        Whether it is the holder's now.
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
    """Where this process is: host/process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


def forget_silent(session: Session) -> None:
    """Forget the processes that fell silent long ago."""
    session.execute(delete(ProcessBeat).where(ProcessBeat.beat_at < func.now() - FORGOTTEN_AFTER))


@dataclass(frozen=True, slots=True)
class Heard:
    """A process, and the seconds since it was heard of."""

    name: str
    seconds_ago: float


def latest(session: Session, kind: ProcessKind, *, host: str = "") -> Heard | None:
    """The process of a kind that was heard of last; None if none was.

    Args:
        host: what its name has to contain, as the names of a machine's processes do; empty for any.
    """
    query = _heard(kind).where(ProcessBeat.name.contains(host, autoescape=True))
    row = session.execute(query.order_by(ProcessBeat.beat_at.desc()).limit(1)).one_or_none()
    return None if row is None else Heard(row[0], float(row[1]))


def silent(session: Session, kind: ProcessKind, *, after: float, limit: int) -> list[Heard]:
    """The processes of a kind that have not been heard of for some seconds, the latest first."""
    last = func.now() - timedelta(seconds=after)
    found = _heard(kind).where(ProcessBeat.beat_at < last).order_by(ProcessBeat.beat_at.desc()).limit(limit)
    return [Heard(name, float(seconds)) for name, seconds in session.execute(found)]


def _heard(kind: ProcessKind) -> Select[str, Any]:
    since = func.extract("epoch", func.now() - ProcessBeat.beat_at)
    return select(ProcessBeat.name, since).where(ProcessBeat.kind == kind)
