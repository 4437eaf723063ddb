"""A worker process says in PostgreSQL that it goes on, so that one that is stopped or hangs is missed."""

import threading
import uuid
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from shared import beats
from shared.database_errors import words_of
from shared.db import Sessions, unit_of_work
from shared.models import ProcessKind
from worker.vitals import vitals

log = structlog.get_logger(__name__)


class Presence:
    """A thread that beats. What PostgreSQL refuses is logged, and tried again; no run depends on it.

    The process does: without it another worker might take its name (`worker.naming`).
    """

    def __init__(
        self,
        name: str,
        sessions: Callable[[], Sessions],
        *,
        pause: float,
        on_name_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare to beat.

        Args:
            name: of the process, as Flower and the broker have it.
            sessions: returns where to write.
            pause: seconds between two beats.
            on_name_lost: called when another worker has taken the name, while this one was silent.
        """
        self._name = name
        self._sessions = sessions
        self._pause = pause
        self._on_name_lost = on_name_lost
        self._has_name = True
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = vitals.start("presence", self._run)

    def close(self) -> None:
        """Beat no more, and leave; without waiting for long for a PostgreSQL that does not answer."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join(timeout=self._pause)

    def _run(self) -> None:
        while not self._is_closed.is_set():
            self._say(is_leaving=False)
            self._is_closed.wait(self._pause)
        self._say(is_leaving=True)

    def _say(self, *, is_leaving: bool) -> None:
        try:
            with unit_of_work(self._sessions()) as session:
                if is_leaving:
                    beats.leave(session, self._name, holder=holder())
                    return
                has_name = beats.beat(session, self._name, ProcessKind.WORKER, holder=holder())
        except SQLAlchemyError as error:
            log.warning("presence not told", error=words_of(error))
            return
        if self._has_name and not has_name:
            log.error("another worker has taken this one's name while it was silent", name=self._name)
            self._on_name_lost()
        self._has_name = has_name


_holder: list[uuid.UUID] = []
"""For whom this process has its name; empty if nobody said."""


def hold(holder: uuid.UUID) -> None:
    """Note for whom this process has its name."""
    _holder[:] = [holder]


def holder() -> uuid.UUID | None:
    """For whom this process has its name."""
    return _holder[0] if _holder else None
