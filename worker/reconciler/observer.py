"""The observer: what the database and the broker hold, as gauges of the reconciler.

One short query per interval, and a longer one per minute. Of several reconcilers one asks, the first by name
of those that have beaten recently. A thread of its own, so that a server that hangs delays no repair.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

import redis
import structlog
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import make_engine, words_of
from shared.dispatch.dispatcher import Dispatcher
from shared.lifecycle import ACTIVE, HELD, RunStatus
from shared.metrics import definitions as metrics
from shared.models import ProcessBeat, ProcessKind, Run, RunTally
from shared.models.base import Base
from shared.runs import queries
from shared.settings import Settings

INTERVAL: Final = 10.0  # seconds between two looks
SLOW_INTERVAL: Final = 60.0  # seconds between two looks at sizes and tallies
STATEMENT_TIMEOUT: Final = timedelta(seconds=5)
STALE_AFTER: Final = 3 * INTERVAL  # seconds after which an observation is not shown any more

OBSERVED: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "runyard_database_up": ("Whether PostgreSQL answers the reconciler.", ()),
    "runyard_redis_up": ("Whether Redis answers the reconciler.", ()),
    "runyard_runs": ("Runs, by status.", ("status",)),
    "runyard_queue_runs": ("Runs that wait for a worker, by queue.", ("queue",)),
    "runyard_queue_oldest_seconds": ("How long the oldest waiting run has waited for a worker.", ("queue",)),
    "runyard_broker_messages": ("Messages in Redis that no worker has taken.", ("queue",)),
    "runyard_stuck_runs": ("Runs that wait for a repair: lost, or not known to have stopped.", ("why",)),
    "runyard_processes": ("Processes that have beaten recently.", ("kind",)),
    "runyard_table_bytes": ("Bytes of a table with its indexes and partitions.", ("table",)),
    "runyard_database_bytes": ("Bytes of the database.", ()),
}
"""The gauges, each with its description and its labels."""

log = structlog.get_logger(__name__)

Labels = tuple[str, ...]
Values = dict[str, dict[Labels, float]]

_SIZES: Final = text("""
    SELECT coalesce(parent.relname, part.relname), sum(pg_total_relation_size(part.oid))
    FROM pg_class AS part
    LEFT JOIN pg_inherits ON pg_inherits.inhrelid = part.oid
    LEFT JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
    WHERE part.relkind = 'r' AND part.relnamespace = current_schema()::regnamespace
    GROUP BY 1
""")

_DATABASE_SIZE: Final = text("SELECT pg_database_size(current_database())")


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen, and when; without values if another reconciler looks."""

    is_database_up: bool = False
    is_redis_up: bool = False
    values: Values = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic)


class Observer:
    """Looks at PostgreSQL and Redis, and collects what it saw last for a registry."""

    def __init__(self, settings: Settings, engine: Engine, dispatcher: Dispatcher, *, name: str) -> None:
        """Make the observer of a reconciler; `run` looks.

        Args:
            engine: connections of its own.
            dispatcher: for its view of the broker.
            name: of this reconciler among the beats.
        """
        self._settings = settings
        self._engine = engine
        self._dispatcher = dispatcher
        self._name = name
        self._fresh_for = max(3 * settings.reconcile_interval, settings.lease_ttl)
        self._seen: Observation | None = None
        self._slow: Values = {}
        self._slow_at = float("-inf")

    @classmethod
    def make(cls, settings: Settings, dispatcher: Dispatcher, *, name: str) -> "Observer":
        limits = {"statement_timeout": STATEMENT_TIMEOUT}
        return cls(settings, make_engine(settings, pool_size=1, limits=limits), dispatcher, name=name)

    def start(self, stop: threading.Event) -> None:
        """Look in a thread until `stop` is set."""
        threading.Thread(target=partial(self.run, stop), name="observer", daemon=True).start()

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set. A look that fails is logged, and the next one is tried."""
        while True:
            try:
                self.look()
            except Exception:
                log.exception("observation failed")
            if stop.wait(INTERVAL):
                return

    def look(self) -> None:
        """Look once."""
        values: Values = {}
        is_database_up, is_redis_up = True, True
        try:
            with Session(self._engine) as session, session.begin():
                if self._is_first(session):
                    values = self._values(session)
        except SQLAlchemyError as error:
            log.warning("database not observed", error=words_of(error))
            is_database_up, values = False, {}
        try:
            messages = self._dispatcher.queue_lengths()
        except redis.RedisError as error:
            metrics.BROKER_ERRORS.inc("reconciler")
            log.warning("broker not observed", error=str(error))
            is_redis_up = False
        else:
            if values:
                values["runyard_broker_messages"] = {(queue,): n for queue, n in messages.items()}
        self._seen = Observation(is_database_up, is_redis_up, values)

    def describe(self) -> Iterable[Metric]:
        """Name the gauges."""
        return [GaugeMetricFamily(name, about, labels=names) for name, (about, names) in OBSERVED.items()]

    def collect(self) -> Iterable[Metric]:
        """Return what was seen last, unless that is long ago."""
        seen = self._seen
        if seen is None or time.monotonic() - seen.at > STALE_AFTER:
            seen = Observation()
        up: Values = {
            "runyard_database_up": {(): float(seen.is_database_up)},
            "runyard_redis_up": {(): float(seen.is_redis_up)},
        }
        for name, values in {**up, **seen.values}.items():
            about, names = OBSERVED[name]
            family = GaugeMetricFamily(name, about, labels=names)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def _is_first(self, session: Session) -> bool:
        first = session.scalar(
            select(func.min(ProcessBeat.name)).where(
                ProcessBeat.kind == ProcessKind.RECONCILER,
                ProcessBeat.beat_at > func.now() - self._fresh_for,
            )
        )
        return first is None or first >= self._name

    def _values(self, session: Session) -> Values:
        if time.monotonic() - self._slow_at >= SLOW_INTERVAL:
            self._slow, self._slow_at = self._slow_values(session), time.monotonic()
        runs: dict[Labels, float] = {(status,): 0.0 for status in sorted(ACTIVE)}
        waiting = queries.waiting(session, self._settings.queue_of, share=self._settings.running_share)
        for statuses in ((RunStatus.QUEUED,), tuple(HELD)):  # each has an index
            query = select(Run.status, func.count()).where(Run.status.in_(statuses)).group_by(Run.status)
            for status, count in session.execute(query):
                runs[(status,)] = float(count)
        lost, unconfirmed = session.execute(
            select(
                select(func.count())
                .where(queries.is_lost(lease_ttl=self._settings.lease_ttl))
                .scalar_subquery(),
                select(func.count()).where(queries.stops_unconfirmed()).scalar_subquery(),
            )
        ).one()
        processes: dict[Labels, float] = {(kind,): 0.0 for kind in ProcessKind}
        beats = (
            select(ProcessBeat.kind, func.count())
            .where(ProcessBeat.beat_at > func.now() - self._fresh_for)
            .group_by(ProcessBeat.kind)
        )
        for kind, count in session.execute(beats):
            processes[(kind,)] = float(count)
        return {
            **self._slow,
            "runyard_runs": {**runs, **self._slow.get("runyard_runs", {})},
            "runyard_queue_runs": {(queue,): float(one.runs) for queue, one in waiting.items()},
            "runyard_queue_oldest_seconds": {(queue,): one.oldest for queue, one in waiting.items()},
            "runyard_stuck_runs": {("lost",): float(lost), ("stop_unconfirmed",): float(unconfirmed)},
            "runyard_processes": processes,
        }

    def _slow_values(self, session: Session) -> Values:
        tallies = select(RunTally.status, func.sum(RunTally.runs)).group_by(RunTally.status)
        return {
            "runyard_runs": {(status,): float(runs) for status, runs in session.execute(tallies)},
            "runyard_table_bytes": {
                (name,): float(size) for name, size in session.execute(_SIZES) if name in Base.metadata.tables
            },
            "runyard_database_bytes": {(): float(session.scalar(_DATABASE_SIZE) or 0)},
        }
