"""Readiness: whether PostgreSQL serves requests, checked in bounded time."""

import asyncio
from typing import Final

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy import Engine, false, func, select, true, update
from sqlalchemy.exc import SQLAlchemyError

from shared.db import words_of
from shared.migrations.schema import is_current
from shared.models import IdempotencyKey

ANSWER_TIMEOUT: Final = 2.0  # seconds for an answer
ANSWER_TTL: Final = 0.5
"""Seconds for which an answer is good for others, too: probes need no key, and each question is a write."""

READY: Final = "ready"
UNAVAILABLE: Final = "unavailable"
NOT_MIGRATED: Final = "not migrated"

log = structlog.get_logger(__name__)


class Readiness:
    """Asks PostgreSQL one question at a time, in a thread beside those that endpoints share.

    A schema that was once complete stays so: from then on only a write is tried, and a
    newer release that migrates meanwhile does not take this one out of service.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = CapacityLimiter(1)
        self._question: asyncio.Task[str] | None = None
        self._asked_at = 0.0
        self._is_migrated = False

    async def database(self) -> str:
        """Return `READY`, `NOT_MIGRATED`, or `UNAVAILABLE`: also for no answer in time."""
        now = asyncio.get_running_loop().time()
        if self._question is None or (self._question.done() and now - self._asked_at > ANSWER_TTL):
            question = to_thread.run_sync(self._try, limiter=self._thread, abandon_on_cancel=True)
            self._question, self._asked_at = asyncio.create_task(question), now
        await asyncio.wait({self._question}, timeout=ANSWER_TIMEOUT)
        return self._question.result() if self._question.done() else UNAVAILABLE

    def _try(self) -> str:
        """Check the schema once, and write: a message in the write-ahead log that nobody reads.

        A server that only reads refuses the update, though it is of no row. A server with a full disk, or
        one that waits for its standby, does not complete the commit.
        """
        try:
            self._is_migrated = self._is_migrated or is_current(self._engine)
            if not self._is_migrated:
                return NOT_MIGRATED
            with self._engine.begin() as connection:
                connection.execute(update(IdempotencyKey).where(false()).values(key=IdempotencyKey.key))
                connection.execute(select(func.pg_logical_emit_message(true(), "runyard", "ready")))
        except SQLAlchemyError as error:
            log.warning("not ready", error=type(error).__name__, cause=words_of(error))
            return UNAVAILABLE
        return READY
