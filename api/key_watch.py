"""Open streams and waits end with the key they were opened by."""

import asyncio
import uuid
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from shared.db import Sessions, unit_of_work
from shared.keys.principal import Principal
from shared.keys.service import good_among
from shared.settings import Settings

log = structlog.get_logger(__name__)

EndNow = Callable[[], None]
"""Ends one stream or wait; callable on the event loop, at any time and more than once."""


class KeyWatch:
    """Asks now and then, for all keys by which something is open, whether they are still good.

    One query for all of them each `pause`, however many streams there are. While PostgreSQL cannot be reached
    nothing ends: a key counts as good until it is known not to be.
    """

    def __init__(self, sessions: Sessions, *, pause: timedelta) -> None:
        self._sessions = sessions
        self._pause = pause.total_seconds()
        self._open: dict[uuid.UUID, dict[object, EndNow]] = {}
        self._thread = CapacityLimiter(1)

    @classmethod
    def make(cls, settings: Settings, sessions: Sessions) -> Self:
        return cls(sessions, pause=settings.key_cache_ttl)

    @contextmanager
    def until_bad(self, principal: Principal, end: EndNow) -> Generator[None]:
        """Call `end` if the principal's key goes bad while the block lasts."""
        ticket = object()
        known = self._open.setdefault(principal.key_id, {})
        known[ticket] = end
        try:
            yield
        finally:
            del known[ticket]
            if not known:
                self._open.pop(principal.key_id, None)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(self._pause)
            await self.ask()

    async def ask(self) -> None:
        """Ask once, and end what was opened by keys that are good no longer."""
        asked = tuple(self._open)
        if not asked:
            return
        try:
            good = await to_thread.run_sync(self._good_among, asked, limiter=self._thread)
        except SQLAlchemyError as error:
            log.warning("keys of open streams not checked", error=type(error).__name__)
            return
        for key_id in set(asked) - good:
            for end in tuple(self._open.get(key_id, {}).values()):
                end()

    def _good_among(self, key_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        with unit_of_work(self._sessions) as session:
            return good_among(session, key_ids)
