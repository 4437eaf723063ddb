"""Beats of a worker process in PostgreSQL: a stopped or hung process is missed."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared.db import Sessions, unit_of_work, words_of
from shared.models import ProcessKind
from shared.processes import beats
from shared.processes.beats import Load
from worker.identity import own_holder
from worker.vitals import vitals

log = structlog.get_logger(__name__)


class Presence:
    """A thread that beats. A refused beat is logged and repeated; no run depends on it.

    The process depends on the thread: without beats another worker may take its name
    (`worker.process.naming`).
    """

    def __init__(
        self,
        name: str,
        sessions: Callable[[], Sessions],
        *,
        interval: float,
        load: Callable[[], Load | None] = lambda: None,
        on_name_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare to beat.

        Args:
            name: of the process in Flower and at the broker.
            sessions: returns the sessions to write with.
            interval: seconds between two beats.
            load: returns the slots of this process; None while it does not know them.
            on_name_lost: called when another worker has taken the name during a silence of this one.
        """
        self._name = name
        self._sessions = sessions
        self._interval = interval
        self._load = load
        self._on_name_lost = on_name_lost
        self._has_name = True
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = vitals.start("presence", self._run)

    def close(self) -> None:
        """Stop beating and delete the row; wait at most one interval for PostgreSQL."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join(timeout=self._interval)

    def _run(self) -> None:
        while not self._is_closed.is_set():
            self._beat(is_leaving=False)
            self._is_closed.wait(self._interval)
        self._beat(is_leaving=True)

    def _beat(self, *, is_leaving: bool) -> None:
        try:
            with unit_of_work(self._sessions()) as session:
                if is_leaving:
                    beats.leave(session, self._name, holder=own_holder())
                    return
                has_name = beats.beat(
                    session, self._name, ProcessKind.WORKER, holder=own_holder(), load=self._load()
                )
        except SQLAlchemyError as error:
            log.warning("beat not recorded", error=words_of(error))
            return
        if self._has_name and not has_name:
            log.error("another worker has taken this one's name while it was silent", name=self._name)
            self._on_name_lost()
        self._has_name = has_name
