"""The event writer of a run: batch, store under the fence, then publish."""

import contextvars
import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final

import orjson
import structlog

from shared.database_errors import is_passing
from shared.db import unit_of_work
from shared.errors import LeaseLostError
from shared.events import log as event_log
from shared.events.log import NewEvent
from shared.events.text import storable
from shared.models import TEXT_CHUNK, Origin
from shared.runs.lifecycle import RunStatus
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import ExecutorEvent
from worker.outage import persistently
from worker.resources import Resources

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 64
BATCH_BYTES: Final = 64 * 1024
BUFFER_BYTES: Final = 8 * 1024 * 1024
"""What one run may have waiting while PostgreSQL is away; its assistant then waits, too."""


class EventWriter:
    """Takes what an executor emits and stores it in the order of emission, in a thread of its own.

    The first event is stored at once, later ones after `event_flush`, or when a batch is full.
    When the run turns out to be no longer this attempt's, its token fires.
    """

    def __init__(self, resources: Resources, run_id: uuid.UUID, attempt: int, token: CancelToken) -> None:
        self._resources = resources
        self._run_id = run_id
        self._attempt = attempt
        self._token = token
        self._interval = resources.settings.event_flush.total_seconds()
        self._buffer: list[NewEvent] = []
        self._buffered_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_broken = False
        self._thread: threading.Thread | None = None
        self._context = contextvars.copy_context()  # the run's, for what its thread logs

    def emit(self, event: ExecutorEvent) -> None:
        """Take an event; wait if too much is waiting.

        Raises:
            RunStopped: the run is to stop.
        """
        encoded = orjson.dumps(storable(event.payload), default=str)
        new = NewEvent(Origin.ASSISTANT, event.type, orjson.loads(encoded), event.timestamp)
        with self._changed:
            while self._buffered_bytes > BUFFER_BYTES and not self._token.is_cancelled:
                self._changed.wait(self._interval)
            self._token.raise_if_cancelled()
            if self._is_closed:
                raise RunStopped
            self._buffer.append(new)
            self._buffered_bytes += len(encoded)
            self._changed.notify_all()
            if self._thread is None:
                run = partial(self._context.run, self._run)
                self._thread = threading.Thread(target=run, name="event-writer", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Store what is waiting; take nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    @property
    def is_broken(self) -> bool:
        """Whether something that was taken could not be stored; the token tells why."""
        return self._is_broken

    def _run(self) -> None:
        try:
            self._store_all()
        except BaseException:
            # It takes the run with it: one that went on would succeed without its events.
            log.critical(
                "the event writer of a run died",
                run_id=str(self._run_id),
                attempt=self._attempt,
                exc_info=True,
            )
            self._break(StopReason.DATABASE_LOST)

    def _store_all(self) -> None:
        flushed_at = float("-inf")
        while not self._is_broken:
            batch = self._next_batch(flushed_at)
            if not batch:
                return
            flushed_at = time.monotonic()
            self._store(batch)

    def _next_batch(self, flushed_at: float) -> list[NewEvent]:
        """Wait for the next batch; empty means that the writer was closed and nothing is left."""
        with self._changed:
            while not self._buffer and not self._is_closed:
                self._changed.wait()
            while not self._is_closed and not self._is_full():
                pause = flushed_at + self._interval - time.monotonic()
                if pause <= 0:
                    break
                self._changed.wait(pause)
            batch, self._buffer = self._buffer, []
            self._buffered_bytes = 0
            self._changed.notify_all()
            return batch

    def _is_full(self) -> bool:
        return len(self._buffer) >= BATCH_EVENTS or self._buffered_bytes >= BATCH_BYTES

    def _store(self, events: Sequence[NewEvent]) -> None:
        try:
            _Append(self._resources, self._run_id, self._attempt, events).until_done()
        except LeaseLostError as lost:
            cancelled = lost.status == RunStatus.CANCELLED
            self._break(StopReason.CANCELLED if cancelled else StopReason.LEASE_LOST)
        except Exception as error:
            if not is_passing(error):
                log.exception("events could not be stored")
            self._break(StopReason.DATABASE_LOST)

    def _break(self, reason: StopReason) -> None:
        self._is_broken = True
        self._token.cancel(reason)
        with self._changed:
            self._buffer.clear()
            self._buffered_bytes = 0
            self._changed.notify_all()


class _Append:
    """One batch on its way into the log, however often its commit has to be repeated."""

    def __init__(
        self, resources: Resources, run_id: uuid.UUID, attempt: int, events: Sequence[NewEvent]
    ) -> None:
        self._resources = resources
        self._run_id = run_id
        self._attempt = attempt
        self._events = join_chunks(events)
        self._may_be_stored = False

    def until_done(self) -> None:
        """Store and announce the batch.

        Raises:
            LeaseLostError: the run is no longer this attempt's.
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL was away for too long.
        """
        persistently(self._once, grace=self._resources.settings.database_outage_grace)

    def _once(self) -> None:
        with unit_of_work(self._resources.sessions) as session:
            stored = []
            if self._may_be_stored:
                stored = event_log.find_stored(session, self._run_id, self._events)
            self._may_be_stored = True
            if not stored:
                stored = event_log.append(session, self._run_id, self._events, attempt=self._attempt)
            self._resources.dispatcher.announce(session, stored)


def join_chunks(events: Sequence[NewEvent]) -> list[NewEvent]:
    """Join adjacent text chunks of one message into one chunk; everything else stays as it is."""
    joined: list[NewEvent] = []
    for key, group in groupby(events, key=_chunk_key):
        members = list(group)
        if key is None or len(members) == 1:
            joined += members
            continue
        first = members[0]
        token = "".join(member.payload["token"] for member in members)
        joined.append(NewEvent(first.origin, first.type, {**first.payload, "token": token}, first.timestamp))
    return joined


def _chunk_key(event: NewEvent) -> Any:
    if event.type != TEXT_CHUNK or not isinstance(event.payload.get("token"), str):
        return None
    return event.payload.get("type"), event.payload.get("index", 0)
