"""Flower's views: our log format, the demand for workers, and no workers that are long gone."""

import itertools
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Final

import structlog
from celery.events import Event, EventReceiver
from celery.utils.time import utcoffset
from flower.app import Flower
from flower.events import EventsState
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tornado.ioloop import IOLoop, PeriodicCallback

from shared.db import make_engine, words_of
from shared.dispatch.dispatcher import parse_task_id
from shared.dispatch.task_events import NO_WORKER, TaskEvent
from shared.logs import configure_logging, log_uncaught
from shared.processes import beats
from shared.processes.garbage import settle_garbage
from shared.processes.pulse import Fact, Kind, Limits
from shared.processes.starting import begin_pulse
from shared.runs.queries import count_waiting
from shared.runs.task_states import missed_events
from shared.settings import Settings, get_settings
from worker.process import intake

CHECK_INTERVAL: Final = 1_000  # milliseconds between two checks for workers that are gone
CATCH_UP_INTERVAL: Final = 10_000  # milliseconds between two questions about old tasks
TOLD_LATE: Final = 10.0  # seconds without an event of a task, after which it is asked about
MAX_TASKS: Final = 10_000  # looked at in one round
UNDER_WAY: Final = frozenset({"PENDING", "RECEIVED", "STARTED"})
"""States of a task that has not ended; queued tasks are PENDING."""

TURN_LIMIT: Final = 60.0  # seconds; a button waits for a Redis that hangs, and a save for the disk
DEMAND_TIMEOUT: Final = timedelta(seconds=2)  # for PostgreSQL's answer

log = structlog.get_logger(__name__)


class Receiver(EventReceiver):
    """Receives events, and drops malformed ones as a worker does (`worker.process.intake`)."""

    def create_connection(self) -> Any:
        return intake.make_tolerant(super().create_connection())

    def _receive(self, body: Any, _message: Any, **_: Any) -> None:
        for event in body if isinstance(body, list) else [body]:
            try:
                intake.check_event(event)
                self.process(*self.event_from_message(event))
            except Exception as error:  # noqa: BLE001  # a malformed event can raise anything; the log line names the type
                intake.drop(error, source="events")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        intake.drop(exc, source="events")
        message.ack()


class State(EventsState):  # type: ignore[misc]  # Flower is untyped
    """The state of Flower; a task without a worker adds no worker."""

    def event(self, event: dict[str, Any]) -> None:
        super().event(event)
        if event["hostname"] == NO_WORKER:
            self.workers.pop(NO_WORKER, None)
            self.counter.pop(NO_WORKER, None)


class View(Flower):  # type: ignore[misc]  # likewise
    """Flower's application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = get_settings()
        configure_logging(settings, process="flower")
        log_uncaught()
        super().__init__(*args, **kwargs)
        self._forget_after = settings.flower_forget_after.total_seconds()
        self._missed_since: dict[str, float] = {}
        os.umask(0o077)  # of the file of its state
        self._tick = PeriodicCallback(self._on_tick, CHECK_INTERVAL)
        self._catch_up = PeriodicCallback(self.catch_up, CATCH_UP_INTERVAL)
        self._pulse = begin_pulse(Kind.FLOWER, beats.this_process(), Limits(turn=TURN_LIMIT))

    def start(self) -> None:
        self._tick.start()
        self._catch_up.start()
        settle_garbage()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._pulse.close()

    def _on_tick(self) -> None:
        self._pulse.beat(Fact.TURN)
        self.forget_the_gone()

    def forget_the_gone(self) -> None:
        """Remove workers that have been silent for long; their tasks keep their names."""
        state, now = self.events.state, time.monotonic()
        # API processes send events, too, but of tasks alone: they are no workers.
        heard_of = {
            name
            for name, events in state.counter.items()
            if any(kind.startswith("worker-") for kind in events)
        }
        for name in heard_of | set(state.workers) | set(self.inspector.workers):
            worker = state.workers.get(name)
            if worker is not None and worker.alive:
                self._missed_since.pop(name, None)
            elif now - self._missed_since.setdefault(name, now) >= self._forget_after:
                log.info("worker forgotten: silent for long", worker=name)
                for known in (state.workers, state.counter, self.inspector.workers, self._missed_since):
                    known.pop(name, None)
                state.metrics.remove_workers({name})

    async def catch_up(self) -> None:
        """Ask PostgreSQL for tasks that have been under way for long: an event about their end may be lost.

        Redis keeps no event for a Flower that is away.
        """
        state = self.events.state
        before = time.time() - TOLD_LATE
        old = [
            (identifier, task.worker.hostname if task.worker else NO_WORKER)
            for identifier, task in itertools.islice(state.tasks.items(), MAX_TASKS)
            if task.state in UNDER_WAY and (task.timestamp or 0) < before
        ]
        known = {parsed: worker for identifier, worker in old if (parsed := parse_task_id(identifier))}
        if known:
            self._apply(await IOLoop.current().run_in_executor(None, reader().missed_events, known))

    def _apply(self, events: Sequence[TaskEvent]) -> None:
        state = self.events.state
        for one in events:
            log.info("task caught up with", type=one.type, task_id=one.fields["uuid"])
            now = {"local_received": time.time(), "clock": self.capp.clock.forward(), "pid": 0}
            state.event(Event(one.type, hostname=one.worker, utcoffset=utcoffset(), **now, **one.fields))


class Reader:
    """Reads the runs of Flower's tasks."""

    def __init__(self, settings: Settings) -> None:
        self._engine = make_engine(settings, pool_size=1, limits={"statement_timeout": DEMAND_TIMEOUT})

    def missed_events(self, known: Mapping[tuple[uuid.UUID, int], str]) -> list[TaskEvent]:
        """Return the events of attempts that are over; none during an outage of PostgreSQL.

        Args:
            known: attempts that seem to be under way, each with its worker.
        """
        try:
            with Session(self._engine) as session:
                return missed_events(session, known)
        except SQLAlchemyError as error:
            log.warning("tasks not caught up with", error=words_of(error))
            return []


@cache
def reader() -> Reader:
    """Return the reader of this process."""
    return Reader(get_settings())


class Demand:
    """The number of waiting runs as a metric, to scale workers by."""

    def __init__(self, settings: Settings) -> None:
        self._queue_of, self._share = settings.queue_of, settings.running_share
        self._engine = make_engine(settings, pool_size=1, limits={"statement_timeout": DEMAND_TIMEOUT})
        self._gauge = Gauge("runyard_runs_waiting", "Runs that wait for a worker", ["queue"])

    def update(self) -> None:
        """Read the numbers from PostgreSQL. During an outage there is no metric, rather than an old one."""
        try:
            with Session(self._engine) as session:
                counts = count_waiting(session, self._queue_of, share=self._share)
        except SQLAlchemyError as error:
            log.warning("demand for workers unknown", error=words_of(error))
            self._gauge.clear()
            return
        for queue, runs in counts.items():
            self._gauge.labels(queue).set(runs)


@cache
def demand() -> Demand:
    """Return the demand metric of this process, which has one registry of metrics."""
    return Demand(get_settings())
