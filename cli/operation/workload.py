"""The workload of an installation: runs by status, queues, workers, and how many runs come and end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Engine, func, select, true, union_all
from sqlalchemy.orm import Session

from cli.doctor.processes import silence_limit
from cli.operation.broker import BrokerView, look_at_broker
from cli.operation.reading import reading
from shared.dispatch import shares
from shared.lifecycle import HELD, RunKind, RunStatus
from shared.models import Organization, ProcessBeat, ProcessKind, Run, RunTally
from shared.settings import Settings

MAX_WORKERS: Final = 1000


class WorkerState(StrEnum):
    """Whether a worker is heard of."""

    OK = "ok"
    SILENT = "silent"  # no heartbeat in PostgreSQL
    UNREACHED = "unreached"  # a heartbeat, and no answer through Redis
    UNKNOWN = "unknown"  # Redis is away


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: what waits in it, and who takes from it. None is not known."""

    name: str
    waiting: int  # runs that want a worker
    oldest_seconds: float | None  # how long the oldest of them has waited; None if there is none
    held_back: int  # runs that wait for room in their tenant's share
    messages: int | None  # in Redis
    workers: int | None  # that take from it


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process. None is not known."""

    name: str
    state: WorkerState
    busy: int  # runs that it holds
    slots: int | None
    queues: tuple[str, ...] | None
    beat_seconds: float | None  # since its last heartbeat
    process: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """The numbers of ended runs at an instant of the database."""

    at: datetime
    ended: Mapping[RunStatus, int]

    def per_minute(self, before: "Sample") -> dict[RunStatus, float] | None:
        """The runs that ended per minute since an earlier sample; None if no time has passed.

        Runs that were deleted meanwhile are missing, so the number is at least 0 and never too large.
        """
        minutes = (self.at - before.at).total_seconds() / 60
        if minutes <= 0:
            return None
        return {
            status: max(0, count - before.ended.get(status, 0)) / minutes
            for status, count in self.ended.items()
        }


def active_runs(session: Session) -> dict[RunStatus, int]:
    """Count the runs that have not ended, by their status."""
    queued = select(Run.status, func.count()).where(Run.status == RunStatus.QUEUED).group_by(Run.status)
    held = select(Run.status, func.count()).where(Run.status.in_(HELD)).group_by(Run.status)
    # By two statements: one index has the queued ones, and another the held ones.
    counts = {status: count for part in (queued, held) for status, count in session.execute(part)}
    return {
        status: counts.get(status, 0) for status in (RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING)
    }


def read_sample(session: Session) -> Sample:
    """Read how many runs have ended."""
    now = session.scalars(select(func.clock_timestamp())).one()
    tallies = session.execute(select(RunTally.status, func.sum(RunTally.runs)).group_by(RunTally.status))
    return Sample(now, {status: int(runs) for status, runs in tallies})


def created_last_minute(session: Session) -> int:
    """Count the runs that were created in the last minute, by the index of each organization."""
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
    counts = []
    for kind in (Run.assistant_id, Run.structure_id):
        recent = (
            select(func.count().label("runs"))
            .where(Run.organization_id == Organization.id, kind.is_not(None), Run.created_at > since)
            .lateral()
        )
        counts.append(select(recent.c.runs).select_from(Organization).join(recent, true()))
    both = union_all(*counts).subquery()
    return int(session.scalar(select(func.coalesce(func.sum(both.c.runs), 0))) or 0)


def read_queues(session: Session, settings: Settings, broker: BrokerView) -> list[Queue]:
    """Return the queues of new runs, and those that workers take from."""
    is_structure = Run.structure_id.is_not(None)
    held_back = shares.is_held_back(settings.running_share)
    waited = func.extract("epoch", func.now() - func.min(Run.queued_at).filter(~held_back))
    rows = session.execute(
        select(is_structure, func.count().filter(~held_back), waited, func.count().filter(held_back))
        .where(Run.status == RunStatus.QUEUED, ~Run.waits_for_thread)
        .group_by(is_structure)
    )
    waiting: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    oldest: dict[str, float] = {}
    for of_structures, count, seconds, held in rows:
        name = settings.queue_of[RunKind.STRUCTURE if of_structures else RunKind.ASSISTANT]
        waiting[name] += count
        kept[name] += held
        if seconds is not None:
            oldest[name] = max(oldest.get(name, 0.0), float(seconds))
    takers = Counter(name for answer in broker.answers.values() for name in answer.queues)
    is_known = broker.fault is None
    names = {**dict.fromkeys(settings.queue_of.values()), **dict.fromkeys(broker.messages)}
    return [
        Queue(
            name,
            waiting[name],
            oldest.get(name),
            kept[name],
            broker.messages.get(name, 0) if is_known else None,
            takers[name] if is_known else None,
        )
        for name in names
    ]


def beating_workers(session: Session, settings: Settings) -> list[str]:
    """Return the names of the workers that sent a heartbeat lately."""
    limit = silence_limit(settings, settings.heartbeat)
    return [beat.name for beat in _beats(session) if float(beat.seconds) <= limit]


def ask_workers(engine: Engine, settings: Settings) -> BrokerView:
    """Ask the workers that send heartbeats, through Redis; no transaction is open while they answer.

    Raises:
        cli.operation.reading.TooSlowError, cli.database_sessions.DatabaseRefusedError: PostgreSQL failed.
    """
    with reading(engine) as session:
        expected = beating_workers(session, settings)
    return look_at_broker(settings, expected=expected)


def read_workers(session: Session, settings: Settings, broker: BrokerView) -> list[Worker]:
    """Return the workers that PostgreSQL or Redis knows, by name."""
    beats = {beat.name: beat for beat in _beats(session)}
    held = select(Run.worker, func.count()).where(Run.status.in_(HELD), ~Run.is_external).group_by(Run.worker)
    busy = dict(session.execute(held).all())
    limit = silence_limit(settings, settings.heartbeat)
    found = []
    for name in sorted({*beats, *broker.answers})[:MAX_WORKERS]:
        beat, answer = beats.get(name), broker.answers.get(name)
        if answer is not None:
            state = WorkerState.OK
        elif beat is not None and float(beat.seconds) > limit:
            state = WorkerState.SILENT
        else:
            state = WorkerState.UNREACHED if broker.fault is None else WorkerState.UNKNOWN
        found.append(
            Worker(
                name,
                state,
                busy.get(name, 0),
                None if answer is None else answer.slots,
                None if answer is None else answer.queues,
                None if beat is None else round(float(beat.seconds), 1),
                None if beat is None else beat.process,
            )
        )
    return found


def _beats(session: Session) -> Sequence[Any]:
    since = func.extract("epoch", func.now() - ProcessBeat.beat_at).label("seconds")
    query = select(ProcessBeat.name, ProcessBeat.process, since).where(ProcessBeat.kind == ProcessKind.WORKER)
    return session.execute(query.order_by(ProcessBeat.name).limit(MAX_WORKERS)).all()
