"""The event writer of a run: its events are buffered, stored under the fence, then published."""

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
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import tracing
from shared.db import Lock
from shared.events import log as event_log
from shared.events.log import Batch, NewEvent
from shared.events.text import storable
from shared.lifecycle import EventType, StoppedHow, Trigger
from shared.metrics import definitions as metrics
from shared.models import JsonObject, Origin, Run
from shared.runs.together import Move, Stop
from worker.attempt.held_run import HeldRun
from worker.cancellation import RunStopped, StopReason
from worker.executors.base import ExecutorEvent

log = structlog.get_logger(__name__)

BATCH_EVENTS: Final = 64
BATCH_BYTES: Final = 64 * 1024
TRACED_STORES: Final = 32
"""Batches of one attempt whose storing is recorded in its trace."""

BUFFER_BYTES: Final = 8 * 1024 * 1024
"""Bytes of events that one run may buffer while PostgreSQL is away; then its executor waits."""


class EventWriter:
    """Stores what an executor emits, in the order of emission, by the batch writer of its process.

    The first event is stored at once; later ones after `event_flush`, or longer under load
    (`BatchWriter.pace`), or when a batch is full. What the batch writer declines is stored alone, in a thread
    of its own: fenced, and repeated through an outage. A write that the fence refuses fires the token of the
    run.
    """

    def __init__(self, held: HeldRun) -> None:
        self._held = held
        self._token = held.token
        self._batches = held.resources.batches
        self._interval = held.resources.settings.event_flush.total_seconds()
        self._buffer: list[NewEvent] = []
        self._buffered_bytes = 0
        self._under_way: Batch | None = None  # taken, and not known to be stored
        self._is_kept = False  # what is under way: declined, and left for the end of the run
        self._taken_at = float("-inf")  # monotonic seconds
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_broken = False
        self._scope: tracing.Scope | None = None  # the attempt's place in its trace
        self._stores = 0  # that were recorded there
        self._stored_from = 0  # nanoseconds since the epoch
        self._context: contextvars.Context | None = None  # the run's, for log lines of other threads

    @property
    def run_id(self) -> uuid.UUID:
        """The run whose events it stores."""
        return self._held.id

    @property
    def is_broken(self) -> bool:
        """Whether an event that was taken could not be stored; the token holds the reason."""
        return self._is_broken

    def emit(self, event: ExecutorEvent) -> None:
        """Take an event; wait while more than `BUFFER_BYTES` are buffered.

        Raises:
            RunStopped: the token has fired, or the writer is closed.
        """
        encoded = orjson.dumps(storable(event.payload), default=str)
        new = NewEvent(Origin.ASSISTANT, event.type, orjson.loads(encoded), event.timestamp)
        if self._context is None:
            self._context = contextvars.copy_context()
            self._scope = tracing.current_scope()
        with self._changed:
            while self._buffered_bytes > BUFFER_BYTES and not self._token.is_cancelled:
                self._changed.wait(self._interval)
            self._token.raise_if_cancelled()
            if self._is_closed:
                raise RunStopped
            self._buffer.append(new)
            self._buffered_bytes += len(encoded)
            if len(self._buffer) == 1 or self._is_full:
                self._schedule()

    def end(self, trigger: Trigger, **options: Any) -> bool:
        """Close the writer; store what is buffered and end the run, in one transaction.

        Args:
            trigger: SUCCEED, FAIL or BREAK of a run that stands alone (`shared.runs.moves.stands_alone`).
            options: `detail`, `output` and `usage`, as the function of the move takes them.

        Returns:
            Whether the run has ended so. If not, what was buffered is stored, or the writer is broken.
        """
        self._settle()
        with self._changed:
            # A tick may have taken the rest meanwhile.
            self._changed.wait_for(lambda: self._under_way is None)
            if self._is_broken:
                return False
            leading = self._taken() if self._buffer else None
        move = Move(self._held.id, self._held.attempt, leading=leading, **options)
        has_ended = self._batches.end(trigger, move)
        if leading is not None and not has_ended:
            self._store_alone(leading)
        with self._changed:
            self._under_way = None
        return has_ended

    def stop(self, how: StoppedHow, usage: JsonObject | None) -> bool:
        """Complete the receipt of a run that was cancelled, together with others; take nothing more.

        Its log has ended with the cancel, so that what is buffered is dropped.

        Returns:
            Whether the receipt is complete. If not, what was buffered is left to `close`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._under_way is None or self._is_kept)
            self._is_closed = True
        has_stopped = self._batches.stop(Stop(self._held.id, self._held.attempt, how, usage))
        if has_stopped:
            with self._changed:
                if self._is_kept:
                    self._under_way, self._is_kept = None, False
                self._buffer.clear()
                self._buffered_bytes = 0
        return has_stopped

    def close(self) -> None:
        """Store what is buffered; take nothing more."""
        self._settle()
        with self._changed:
            self._schedule()
            self._changed.wait_for(lambda: not self._buffer and self._under_way is None)

    def take(self) -> Batch | None:
        """Take what is buffered, for the batch writer."""
        try:
            with self._changed:
                if self._under_way is not None or not self._buffer:
                    return None
                return self._taken()
        except Exception as error:  # noqa: BLE001  # it must not reach the other runs' thread; it is logged
            self._die(error)
            return None

    def stored(self) -> None:
        """Go on with what came meanwhile."""
        self._trace(self._under_way)
        with self._changed:
            self._under_way = None
            self._changed.notify_all()
            self._schedule()

    def declined(self) -> None:
        """Store alone what was taken; a batch may be of any size, and PostgreSQL may be away.

        A run that is to be cancelled has most probably ended: it keeps what was taken until then. The batch
        stays the same, as it may be stored already.
        """
        with self._changed:
            if self._token.reason is StopReason.CANCELLED and not self._is_closed:
                self._is_kept = True
                self._changed.notify_all()
                return
        context = contextvars.Context() if self._context is None else self._context.copy()
        retry = partial(context.run, self._retry)
        try:
            threading.Thread(target=retry, name="event-writer", daemon=True).start()
        except RuntimeError as error:  # the process may have no more threads
            self._die(error)
            self.stored()

    @property
    def _is_full(self) -> bool:
        return len(self._buffer) >= BATCH_EVENTS or self._buffered_bytes >= BATCH_BYTES

    def _schedule(self) -> None:
        if not self._buffer or self._under_way is not None:
            return
        is_due = self._is_closed or self._is_full
        due = 0.0 if is_due else self._taken_at + max(self._interval, self._batches.pace)
        if not self._batches.schedule(self, due):
            self._taken()
            self.declined()

    def _taken(self) -> Batch:
        self._under_way = Batch(self._held.id, self._held.attempt, join_chunks(self._buffer))
        self._buffer = []
        self._buffered_bytes = 0
        self._taken_at = time.monotonic()
        self._stored_from = time.time_ns()
        self._changed.notify_all()
        return self._under_way

    def _settle(self) -> None:
        """Close the writer; wait until what was taken is stored, or the writer is broken."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._under_way is None or self._is_kept)
            is_kept, self._is_kept = self._is_kept, False
        if is_kept:
            self._retry()

    def _trace(self, batch: Batch | None) -> None:
        """Record that a batch is stored, or given up; a long answer has thousands, of which few tell all."""
        if batch is None or self._scope is None or self._stores >= TRACED_STORES:
            return
        self._stores += 1
        error = "not_stored" if self._is_broken else None
        count, size = len(batch.events), batch.size
        self._scope.record(
            "store events",
            self._stored_from,
            error=error,
            runyard__events=count,
            runyard__bytes=size,
        )

    def _retry(self) -> None:
        if self._under_way is not None:
            self._store_alone(self._under_way)
        self.stored()

    def _store_alone(self, batch: Batch) -> None:
        begun_at = time.monotonic()
        try:
            self._held.write(_Append(self._held, batch))
            metrics.FLUSH_SECONDS.observe(time.monotonic() - begun_at, "alone")
            metrics.FLUSH_EVENTS.observe(len(batch.rows))
        except RunStopped:  # the token has fired
            self._break()
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is logged
            self._die(error)

    def _die(self, error: BaseException) -> None:
        """End the run with its writer: it must not succeed without its events."""
        run = {"run_id": str(self._held.id), "attempt": self._held.attempt}
        log.critical("the event writer of a run died", **run, exc_info=error)
        self._token.cancel(StopReason.DATABASE_LOST)
        self._break()

    def _break(self) -> None:
        """Take nothing more, and wake the threads that wait in `emit`."""
        with self._changed:
            self._is_broken = self._is_closed = True
            self._buffer.clear()
            self._buffered_bytes = 0
            self._changed.notify_all()


class _Append:
    """A batch on its way into the log, alone. It may be stored already, by this or by the batch writer."""

    def __init__(self, held: HeldRun, batch: Batch) -> None:
        self._held = held
        self._events = batch.events

    def __call__(self, session: Session) -> None:
        """Store and announce the batch, once.

        Raises:
            LeaseLostError: the run is no longer this attempt's.
        """
        held = self._held
        # A commit whose answer got lost may be under way still: what it stores must be found.
        session.execute(Lock.CHANGE(select(Run.id).where(Run.id == held.id), Run))
        stored = event_log.find_stored(session, held.id, self._events)
        if not stored:
            stored = event_log.append(session, held.id, self._events, attempt=held.attempt)
        held.resources.dispatcher.announce(session, stored)


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
    if event.type != EventType.TEXT_CHUNK or not isinstance(event.payload.get("token"), str):
        return None
    return event.payload.get("type"), event.payload.get("index", 0)
