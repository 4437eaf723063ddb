"""Processes that say they are there, by the database's clock: what tells a silent one from none."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.models import ProcessBeat, ProcessKind

FORGOTTEN_AFTER: Final = timedelta(minutes=15)
"""For how long somebody may still want to know that a process fell silent."""


def beat(session: Session, name: str, kind: ProcessKind) -> None:
    """Say that a process goes on."""
    said = insert(ProcessBeat).values(name=name, kind=kind, beat_at=func.now())
    session.execute(said.on_conflict_do_update(index_elements=["name"], set_={"beat_at": func.now()}))


def leave(session: Session, name: str) -> None:
    """Say that a process ends in good order; one that has said nothing leaves nothing."""
    session.execute(delete(ProcessBeat).where(ProcessBeat.name == name))


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
