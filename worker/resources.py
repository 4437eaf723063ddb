"""What one worker process has one of; made on first use, so after the fork under prefork."""

import os
import threading
from dataclasses import dataclass

from celery import Celery
from sqlalchemy import Engine

from shared.celery_app import make_celery
from shared.db import Sessions, make_engine, make_sessions
from shared.dispatch import Dispatcher
from shared.settings import Settings, get_settings
from worker.lease import LeaseKeeper
from worker.naming import own_name

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
    worker_name: str  # who holds a lease, as Flower and `runyard drain` know it

    def close(self) -> None:
        """Send what is waiting, and let go of every connection."""
        self.leases.close()
        self.dispatcher.close()
        self.engine.dispose()


def make(settings: Settings) -> Resources:
    """Make the resources of a process."""
    celery = make_celery(settings)
    engine = make_engine(settings)
    sessions = make_sessions(engine)
    return Resources(
        settings=settings,
        celery=celery,
        engine=engine,
        sessions=sessions,
        dispatcher=Dispatcher.make(settings, celery),
        leases=LeaseKeeper(sessions, settings),
        worker_name=own_name(),
    )


def get() -> Resources:
    """The resources of this process."""
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
