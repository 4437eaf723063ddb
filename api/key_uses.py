"""When keys were last used: noted in memory by every request, stored in bulk now and then."""

import asyncio
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from shared.db import Sessions, unit_of_work
from shared.keys.service import record_use

log = structlog.get_logger(__name__)


class KeyUses:
    """The latest use of each key since the last flush; no request ever waits for the database here."""

    def __init__(self, sessions: Sessions, *, pause: timedelta) -> None:
        self._sessions = sessions
        self._pause = pause.total_seconds()
        self._used_at: dict[uuid.UUID, datetime] = {}
        self._closing = asyncio.Event()

    def note(self, key_id: uuid.UUID) -> None:
        """Remember that a key is being used."""
        self._used_at[key_id] = datetime.now(UTC)

    def close(self) -> None:
        """Let `run` flush once more and end."""
        self._closing.set()

    async def run(self) -> None:
        """Flush after each pause, and when closed."""
        while not self._closing.is_set():
            await self.flush()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._pause)
        await self.flush()

    async def flush(self) -> None:
        """Store what was noted; what cannot be stored is kept for the next flush."""
        if not self._used_at:
            return
        used_at, self._used_at = self._used_at, {}
        try:
            await run_in_threadpool(self._store, used_at)
        except SQLAlchemyError as error:
            self._used_at = used_at | self._used_at  # a use noted meanwhile is the later one
            log.warning("key uses not stored", keys=len(used_at), error=type(error).__name__)

    def _store(self, used_at: dict[uuid.UUID, datetime]) -> None:
        with unit_of_work(self._sessions) as session:
            record_use(session, used_at)
