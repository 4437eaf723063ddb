"""Unique names of worker processes: taken before a process listens to the broker."""

import os
import uuid
from itertools import chain
from typing import Final

import structlog
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from shared.celery_app import make_celery
from shared.db import Sessions, make_engine, make_sessions, unit_of_work, words_of
from shared.dispatch.dispatcher import SEND_ERRORS, ask
from shared.errors import RunyardError
from shared.processes import beats
from shared.processes.beats import Holding
from shared.settings import Settings
from shared.workers import numbered

MAX_ALIKE: Final = 1_000  # workers that ask for one name

ANSWER_TIMEOUT: Final = 0.5  # seconds for an answer that is not expected
FRESH_ANSWER_TIMEOUT: Final = 2.0  # seconds for the answer of a worker that beat recently

START_TIMEOUT: Final = 60.0  # seconds from taking a name to the first answer

log = structlog.get_logger(__name__)


class NoNameLeftError(RunyardError):
    """Too many workers have the same name: give each its own, by --name or RUNYARD_WORKER_NAME."""


def settle(settings: Settings, wanted: str, holder: uuid.UUID, *, is_kept: bool) -> str:
    """Take a name for this process: the wanted one, or a numbered one if another worker has it.

    Two workers with one name would drain together and be one worker in Flower. A living worker answers a ping
    over Redis; its row in PostgreSQL counts while Redis does not answer, or the worker is still starting.

    Args:
        holder: of the name. The same holder gets its name again at once.
        is_kept: whether this process will beat; without beats it has no row.

    Raises:
        NoNameLeftError: MAX_ALIKE workers have the name.
    """
    engine = make_engine(settings, pool_size=1)
    try:
        with make_celery(settings) as celery:
            registry = _NameRegistry(settings, celery, make_sessions(engine), holder, is_kept=is_kept)
            more = (numbered(wanted, number, mark=".") for number in range(2, MAX_ALIKE))
            name = next(filter(registry.take, chain([wanted], more)), None)
    finally:
        engine.dispose()
    if name is None:
        raise NoNameLeftError(NoNameLeftError.__doc__)
    if name != wanted:
        log.warning("another worker has that name: give each its own", wanted=wanted, name=name)
    return name


class _NameRegistry:
    """Gives names to one holder."""

    def __init__(
        self, settings: Settings, celery: Celery, sessions: Sessions, holder: uuid.UUID, *, is_kept: bool
    ) -> None:
        self._fresh_for = settings.lease_ttl.total_seconds()
        self._celery = celery
        self._sessions = sessions
        self._holder = holder
        self._is_kept = is_kept

    def take(self, name: str) -> bool:
        """Take a name if no other holder has it; return whether it is taken."""
        try:
            with unit_of_work(self._sessions) as session:
                seen = beats.find_holding(session, name)
            if seen is None or seen.holder != self._holder:
                is_fresh = seen is not None and seen.silent_for < self._fresh_for
                has_other = self._answers(name, FRESH_ANSWER_TIMEOUT if is_fresh else ANSWER_TIMEOUT)
                if has_other or (seen is not None and _may_be_starting(seen, is_fresh=is_fresh)):
                    return False
            if not self._is_kept:
                return True
            with unit_of_work(self._sessions) as session:
                return beats.take(session, name, holder=self._holder, seen=seen)
        except SQLAlchemyError as error:
            log.warning("name not recorded", name=name, error=words_of(error))
            return not self._answers(name, FRESH_ANSWER_TIMEOUT)

    def _answers(self, name: str, timeout: float) -> bool:
        try:
            return bool(ask(self._celery, "ping", names=[name], timeout=timeout, limit=1))
        except SEND_ERRORS as error:
            log.warning("unknown whether a worker has that name", name=name, error=str(error))
            return False


def _may_be_starting(seen: Holding, *, is_fresh: bool) -> bool:
    """Whether the holder took the name recently, may still be starting, and is not known to be dead.

    While it loads its code it does not beat, which may take longer than a lease.
    """
    if seen.held_for is None or seen.held_for >= START_TIMEOUT:
        return False
    if seen.silent_for < seen.held_for and not is_fresh:  # it has beaten since
        return False
    if seen.process is None:
        return True
    host, _, pid = beats.this_process().rpartition("/")
    of_host, _, of_pid = seen.process.rpartition("/")
    return of_host != host or (of_pid != pid and _exists(int(of_pid)))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
