"""Flower as we show it: with our log, with the demand for workers, and without workers that are long gone."""

import time
from datetime import timedelta
from functools import cache
from typing import Any, Final

import structlog
from celery.events import EventReceiver
from flower.app import Flower
from flower.events import EventsState
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from tornado.ioloop import PeriodicCallback

from shared.database_errors import words_of
from shared.db import make_engine
from shared.logs import configure_logging
from shared.runs.queries import count_waiting
from shared.settings import Settings, get_settings
from shared.task_events import NO_WORKER
from worker import intake

TICK: Final = 1_000  # milliseconds between two looks for workers that are gone
ANSWER_WITHIN: Final = timedelta(seconds=2)  # for PostgreSQL, when it is asked for the demand

log = structlog.get_logger(__name__)


class Ear(EventReceiver):
    """What Flower listens with: it survives what it hears, as a worker does (`worker.intake`)."""

    def create_connection(self) -> Any:
        return intake.make_tolerant(super().create_connection())

    def _receive(self, body: Any, _message: Any, **_: Any) -> None:
        for event in body if isinstance(body, list) else [body]:
            try:
                intake.check_event(event)
                self.process(*self.event_from_message(event))
            except Exception as error:  # noqa: BLE001  # whatever garbage brings about; the line names its type
                intake.drop(error, source="events")

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        intake.drop(exc, source="events")
        message.ack()


class State(EventsState):  # type: ignore[misc]  # Flower is untyped
    """What Flower has heard; a task that no worker has had makes no worker."""

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
        super().__init__(*args, **kwargs)
        self._forget_after = settings.flower_forget_after.total_seconds()
        self._missed_since: dict[str, float] = {}
        self._tick = PeriodicCallback(self.forget_the_gone, TICK)

    def start(self) -> None:
        self._tick.start()
        super().start()

    def forget_the_gone(self) -> None:
        """Show a worker no more that has not been heard of for long; its tasks keep its name."""
        state, now = self.events.state, time.monotonic()
        for name in _workers_heard_of(state) | set(self.inspector.workers):
            worker = state.workers.get(name)
            if worker is not None and worker.alive:
                self._missed_since.pop(name, None)
            elif now - self._missed_since.setdefault(name, now) >= self._forget_after:
                self._forget(name)

    def _forget(self, name: str) -> None:
        log.info("worker forgotten: it has not been heard of for long", worker=name)
        state = self.events.state
        for known in (state.workers, state.counter, self.inspector.workers, self._missed_since):
            known.pop(name, None)
        state.metrics.remove_workers({name})


def _workers_heard_of(state: EventsState) -> set[str]:
    """Names of workers; others, such as the API's processes, have told of tasks alone."""
    told = {
        name for name, events in state.counter.items() if any(kind.startswith("worker-") for kind in events)
    }
    return told | set(state.workers)


class Demand:
    """How many runs want a worker, as a metric: what to scale workers by."""

    def __init__(self, settings: Settings) -> None:
        self._queue_of, self._share = settings.queue_of, settings.running_share
        self._engine = make_engine(settings, pool_size=1, limits={"statement_timeout": ANSWER_WITHIN})
        self._gauge = Gauge("runyard_runs_waiting", "Runs that wait for a worker", ["queue"])

    def look(self) -> None:
        """Ask PostgreSQL. While it does not answer there is no metric: an old number would mislead."""
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
    """That of this process, which has one registry of metrics."""
    return Demand(get_settings())
