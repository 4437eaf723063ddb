"""The key watch: ends open streams and waits when their key becomes invalid."""

import asyncio
import uuid
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from datetime import timedelta

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from shared.db import Sessions, unit_of_work
from shared.keys.principal import Principal
from shared.keys.service import good_among

log = structlog.get_logger(__name__)

EndNow = Callable[[], None]
"""Ends one stream or wait. The event loop may call it at any time, and more than once."""


class KeyWatch:
    """Checks the keys of all open streams and waits against PostgreSQL.

    One query each `pause` checks all keys, whatever the number of streams. An outage of PostgreSQL ends
    nothing: a key counts as valid until a query shows that it is not.
    """

    def __init__(self, sessions: Sessions, *, pause: timedelta) -> None:
        self._sessions = sessions
        self._pause = pause.total_seconds()
        self._open: dict[uuid.UUID, dict[object, EndNow]] = {}
        self._thread = CapacityLimiter(1)

    @contextmanager
    def until_bad(self, principal: Principal, end: EndNow) -> Generator[None]:
        """Call `end` if the principal's key becomes invalid during the block."""
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
        """Check keys until cancelled; end every stream and wait of an invalid key."""

        def read_good(key_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
            with unit_of_work(self._sessions) as session:
                return good_among(session, key_ids)

        while True:
            await asyncio.sleep(self._pause)
            checked = tuple(self._open)
            if not checked:
                continue
            try:
                good = await to_thread.run_sync(read_good, checked, limiter=self._thread)
            except SQLAlchemyError as error:
                log.warning("keys of open streams not checked", error=type(error).__name__)
                continue
            for key_id in set(checked) - good:
                for end in tuple(self._open.get(key_id, {}).values()):
                    end()
