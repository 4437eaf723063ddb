"""The run watch: one look into PostgreSQL for all runs that streams follow and requests wait for."""

import asyncio
import uuid
from collections.abc import Collection, Generator, KeysView, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final, Protocol

import structlog
from anyio import CapacityLimiter, to_thread
from sqlalchemy import exc as sql

from api.streaming.batch import Batch
from shared.db import Sessions, is_passing, unit_of_work
from shared.runs.queries import LogState, log_states

RECHECK_INTERVAL: Final = 0.05  # seconds; debounce: doubts within it share one look
RUNS_PER_STATEMENT: Final = 1000
GONE: Final = LogState(0, has_ended=True)
"""The state of a deleted run."""

log = structlog.get_logger(__name__)


class Listener(Protocol):
    """One who wants to know of a run. The event loop calls its methods, and none of them may raise."""

    def put(self, batch: Batch, *, size: int) -> None:
        """Take events that were published; `size` is the length of their message in bytes."""

    def learn(self, stored: int, *, has_ended: bool) -> None:
        """Learn the number of stored events, and whether no more follow: the run has ended or is gone."""

    def close(self) -> None:
        """End: the process does."""


class RunWatch:
    """Looks after all runs of a process that somebody listens to.

    Every `reread`, and within 50 ms of a doubt about a run, it reads how many events runs have and whether
    they have ended: a statement for 1,000 runs, whatever the number of listeners. An outage of PostgreSQL
    delays that.
    """

    def __init__(self, sessions: Sessions, *, reread: timedelta) -> None:
        self._sessions = sessions
        self._reread = reread.total_seconds()
        self._listeners: dict[uuid.UUID, set[Listener]] = {}
        self._doubted: set[uuid.UUID] = set()
        self._has_doubts = asyncio.Event()
        self._thread = CapacityLimiter(1)

    @property
    def runs(self) -> KeysView[uuid.UUID]:
        """The runs that somebody listens to."""
        return self._listeners.keys()

    def listeners(self, run_id: uuid.UUID) -> Collection[Listener]:
        """Those who listen to a run now."""
        return self._listeners.get(run_id, ())

    @contextmanager
    def listening(self, run_id: uuid.UUID, listener: Listener) -> Generator[None]:
        """Tell a listener of a run for as long as the block lasts."""
        listeners = self._listeners.setdefault(run_id, set())
        listeners.add(listener)
        try:
            yield
        finally:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[run_id]

    def doubt(self, run_id: uuid.UUID) -> None:
        """Look after a run soon: something may have been missed."""
        if run_id in self._listeners:
            self._doubted.add(run_id)
            self._has_doubts.set()

    def close(self) -> None:
        """Let every listener go."""
        for listeners in tuple(self._listeners.values()):
            for listener in tuple(listeners):
                listener.close()

    async def run(self) -> None:
        """Look after runs until cancelled."""

        def read_states(run_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, LogState]:
            with unit_of_work(self._sessions) as session:
                return log_states(session, run_ids)

        clock = asyncio.get_running_loop().time
        sweep_at = clock() + self._reread
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(sweep_at):
                    await self._has_doubts.wait()
            run_ids = list(self._doubted & self.runs)
            self._doubted.clear()
            self._has_doubts.clear()
            if clock() >= sweep_at:
                run_ids, sweep_at = list(self.runs), clock() + self._reread
            for start in range(0, len(run_ids), RUNS_PER_STATEMENT):
                part = run_ids[start : start + RUNS_PER_STATEMENT]
                try:
                    states = await to_thread.run_sync(read_states, part, limiter=self._thread)
                except sql.SQLAlchemyError as error:
                    write = log.debug if is_passing(error) else log.exception
                    write("runs not looked after", error=type(error).__name__)
                    break
                for run_id in part:
                    stored, has_ended = states.get(run_id, GONE)
                    for listener in tuple(self.listeners(run_id)):
                        listener.learn(stored, has_ended=has_ended)
            await asyncio.sleep(RECHECK_INTERVAL)
