"""The name of this worker process: had before it listens to anybody, and by no other that lives."""

import os
import uuid
from collections.abc import Iterator
from typing import Final

import structlog
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from shared import beats
from shared.beats import Holding
from shared.celery_app import make_celery
from shared.database_errors import words_of
from shared.db import Sessions, make_engine, make_sessions, unit_of_work
from shared.dispatch import SEND_ERRORS, ask
from shared.errors import RunyardError
from shared.settings import Settings
from shared.worker_names import numbered

MOST: Final = 1_000  # workers that may be called alike

BRIEF: Final = 0.5  # seconds in which a worker answers; nobody is expected to
PATIENT: Final = 2.0  # seconds, of one that was heard of just now

STARTING: Final = 60.0  # seconds that a worker may take from its name to its first answer

log = structlog.get_logger(__name__)


class NoNameLeftError(RunyardError):
    """Too many workers are called alike: give them names of their own, by --name or RUNYARD_WORKER_NAME."""


_own: list[str] = []
"""Of this process, and of what it forks; empty until it is known."""


def known_as(name: str) -> None:
    """Note what this process is called."""
    _own[:] = [name]


def own_name() -> str:
    """What this process is called; before it is, or in no worker, where it is."""
    return _own[0] if _own else beats.this_process()


def settle(settings: Settings, wanted: str, holder: uuid.UUID, *, is_kept: bool) -> str:
    """Take a name for this process: the one that is wanted, or with a number if another worker has it.

    Two workers of one name would be drained together, and be one in Flower. One that lives says so itself,
    over Redis; its row in PostgreSQL says so while it cannot be asked, or has not begun to listen.

    Args:
        holder: for whom: a name that the same one has had is given again at once.
        is_kept: whether this process will say, again and again, that it goes on; if not, it has no row.

    Raises:
        NoNameLeftError: there are too many.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with make_celery(settings) as celery:
            desk = _Desk(settings, celery, make_sessions(engine), holder, is_kept=is_kept)
            name = next(filter(desk.take, _candidates(wanted)), None)
    finally:
        engine.dispose()
    if name is None:
        raise NoNameLeftError(NoNameLeftError.__doc__)
    if name != wanted:
        log.warning("another worker has that name: give each its own", wanted=wanted, name=name)
    return name


def _candidates(wanted: str) -> Iterator[str]:
    yield wanted
    for number in range(2, MOST):
        yield numbered(wanted, number, mark=".")


class _Desk:
    """Where names are given to one holder."""

    def __init__(
        self, settings: Settings, celery: Celery, sessions: Sessions, holder: uuid.UUID, *, is_kept: bool
    ) -> None:
        self._news_for = settings.lease_ttl.total_seconds()
        self._celery = celery
        self._sessions = sessions
        self._holder = holder
        self._is_kept = is_kept

    def take(self, name: str) -> bool:
        """Take a name if nobody has it; say whether it is taken."""
        try:
            with unit_of_work(self._sessions) as session:
                seen = beats.find_holding(session, name)
            if self._is_had(name, seen):
                return False
            if not self._is_kept:
                return True
            with unit_of_work(self._sessions) as session:
                return beats.take(session, name, holder=self._holder, seen=seen)
        except SQLAlchemyError as error:
            log.warning("name not written down", name=name, error=words_of(error))
            return not self._answers(name, PATIENT)

    def _is_had(self, name: str, seen: Holding | None) -> bool:
        if seen is not None and seen.holder == self._holder:
            return False
        is_fresh = seen is not None and seen.silent_for < self._news_for
        if self._answers(name, PATIENT if is_fresh else BRIEF):
            return True
        return seen is not None and is_fresh and _may_be_starting(seen)

    def _answers(self, name: str, patience: float) -> bool:
        try:
            # One that is closed again: what this process forks would wait for what comes by it.
            with self._celery.connection_for_write() as own:
                return bool(
                    ask(self._celery, "ping", names=[name], timeout=patience, limit=1, connection=own)
                )
        except SEND_ERRORS as error:
            log.warning("not known whether a worker has that name", name=name, error=str(error))
            return False


def _may_be_starting(seen: Holding) -> bool:
    """Whether who took the name not long ago may be about to answer to it."""
    is_young = seen.held_for is not None and seen.held_for < STARTING
    return is_young and not _is_known_to_be_dead(seen.process)


def _is_known_to_be_dead(process: str | None) -> bool:
    if process is None:
        return False
    host, _, pid = beats.this_process().rpartition("/")
    of_host, _, of_pid = process.rpartition("/")
    return of_host == host and (of_pid == pid or not _exists(int(of_pid)))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
