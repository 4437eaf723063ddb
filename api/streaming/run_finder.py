"""Look-ups of the runs that readers want to follow; those who come together share one."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from shared.lifecycle import RunKind
from shared.logs import note
from shared.runs.queries import LogState, log_state

Read = Callable[[Callable[[Session], LogState]], Coroutine[Any, Any, LogState]]
"""Runs a query that only reads."""


class _LookUp:
    """One query, for all who wait for it."""

    def __init__(self, read: Read, query: Callable[[Session], LogState]) -> None:
        self.is_begun = False
        self._query = query
        self.task = asyncio.create_task(read(self._begin))

    def _begin(self, session: Session) -> LogState:
        self.is_begun = True
        return self._query(session)


class RunFinder:
    """Finds runs, for any number of callers with one query at a time for each run.

    A caller shares a query only if it has not begun, so that what is found is never older than the call.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[uuid.UUID, uuid.UUID, RunKind], _LookUp] = {}

    async def find(
        self, run_id: uuid.UUID, *, organization_id: uuid.UUID, kind: RunKind, read: Read
    ) -> LogState:
        """Return how far the log of a run of an organization is.

        Raises:
            RunNotFoundError: there is none of that kind, or it is another organization's.
            OverloadedError: it could not be looked up in time.
        """
        key = (run_id, organization_id, kind)
        pending = self._pending.get(key)
        if pending is None or pending.is_begun:
            query = partial(log_state, run_id=run_id, organization_id=organization_id, kind=kind)
            look_up = pending = self._pending[key] = _LookUp(read, query)

            def forget(done: asyncio.Task[LogState]) -> None:
                if self._pending.get(key) is look_up:
                    del self._pending[key]
                if not done.cancelled():
                    done.exception()  # those who waited for it may have left

            look_up.task.add_done_callback(forget)
        state = await asyncio.shield(pending.task)  # others may wait for it, too
        note(run_id=str(run_id))
        return state
