"""The resources of a worker process, made on first use: after the fork, under prefork."""

import os
import threading
from dataclasses import dataclass

from celery import Celery
from sqlalchemy import Engine

from shared import tracing
from shared.celery_app import make_celery
from shared.db import Sessions, make_engine, make_sessions
from shared.dispatch.dispatcher import Dispatcher
from shared.settings import Settings, get_settings
from worker.attempt.batch_writer import BatchWriter
from worker.attempt.lease import LeaseKeeper
from worker.identity import own_name

_lock = threading.Lock()
_made: dict[int, "Resources"] = {}  # by process id: a forked child does not use its parent's


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections and threads that the runs of a process share."""

    settings: Settings
    celery: Celery
    engine: Engine
    sessions: Sessions
    dispatcher: Dispatcher
    leases: LeaseKeeper
    batches: BatchWriter
    worker_name: str  # of leases, Flower and `runyard drain`

    def close(self) -> None:
        """Send the queued messages, and close every connection."""
        self.leases.close()
        self.batches.close()
        self.dispatcher.close()
        self.engine.dispose()
        tracing.close()


def make(settings: Settings) -> Resources:
    """Make the resources of a process."""
    celery = make_celery(settings)
    engine = make_engine(settings)
    sessions = make_sessions(engine)
    dispatcher = Dispatcher.make(settings, celery)
    name = own_name()
    tracing.start(settings, process="worker", worker=name)
    batches = BatchWriter(sessions, dispatcher, settings, worker_name=name, runs=lambda: leases.runs)
    leases = LeaseKeeper(sessions, settings, between_ticks=batches.between_ticks)
    return Resources(
        settings=settings,
        celery=celery,
        engine=engine,
        sessions=sessions,
        dispatcher=dispatcher,
        leases=leases,
        batches=batches,
        worker_name=name,
    )


def get() -> Resources:
    """Return the resources of this process."""
    with _lock:
        pid = os.getpid()
        if pid not in _made:
            _made[pid] = make(get_settings())
        return _made[pid]


def close() -> None:
    """Close the resources of this process, if it has any."""
    with _lock:
        resources = _made.pop(os.getpid(), None)
    if resources is not None:
        resources.close()
