"""The batch writer of a process: begins runs, stores their events and ends them, many in one transaction.

A tick takes what its runs have for PostgreSQL and writes it in one transaction, so that the number of
transactions follows the load rather than the number of runs. It waits for no lock. What it cannot write comes
back, and its run writes it alone: after an error, for a run that is locked, and for what the fence refuses.
So one run's poisonous event, lost lease or locked row delays no other run, and outages are handled there.
"""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson
import structlog
from sqlalchemy.orm import Session

from shared.db import Sessions, unit_of_work, words_of
from shared.dispatch.dispatcher import Dispatcher
from shared.events.log import Batch
from shared.events.text import storable
from shared.lifecycle import Trigger
from shared.metrics import definitions as metrics
from shared.processes.beats import this_process
from shared.runs import moves
from shared.runs.together import Move, Stop
from shared.settings import Settings
from worker.attempt.context import PlainRun, plain_runs
from worker.vitals import vitals

PAUSE_PER_RUN: Final = 0.001
"""Seconds between two ticks for each run of the process: the more runs, the more of them a tick finds."""

MAX_PAUSE: Final = 0.05  # seconds between two ticks at the most

EVENTS_SHARE: Final = 5
"""A run's events wait for so many times the length of a tick, so that ticks take a part of the time only."""

MAX_PACE: Final = 0.25  # seconds that events wait for that reason at the most

TICK_RUNS: Final = 64
"""Runs that one transaction writes at the most; each has at most a batch of events."""

TICK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of events and outputs after which a transaction takes nothing more; the next one does."""

ALONE_BYTES: Final = 1024 * 1024
"""A batch or an end of more bytes is written alone: others would wait for it."""

log = structlog.get_logger(__name__)


class Source(Protocol):
    """The events of one run, as the batch writer takes them."""

    @property
    def run_id(self) -> uuid.UUID: ...

    def take(self) -> Batch | None:
        """Take the next batch; None if there is nothing to store now. `stored` or `declined` follows.

        None of the three raises anything: it would concern every run of the process.
        """
        ...

    def stored(self) -> None:
        """Learn that the batch taken last is stored."""
        ...

    def declined(self) -> None:
        """Learn that the batch taken last may not be stored: the run stores it alone."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """What a run asks of the next tick. The run's thread waits until it is decided."""

    run_id: uuid.UUID
    size: int = field(default=0, kw_only=True)  # bytes of its events and its output
    decided: threading.Event = field(default_factory=threading.Event, init=False)
    is_done: bool = field(default=False, init=False)

    def decide(self, *, is_done: bool) -> None:
        """Let the run go on."""
        self.is_done = is_done
        self.decided.set()


@dataclass(slots=True, eq=False)
class Begin(Request):
    """A run to claim and start, if it is plain. `prepare` reads nothing, raises nothing, and may refuse."""

    move: Move
    prepare: Callable[[PlainRun], bool]


@dataclass(slots=True, eq=False)
class End(Request):
    """A run to end."""

    move: Move
    trigger: Trigger


@dataclass(slots=True, eq=False)
class Receipt(Request):
    """The receipt of a cancelled run to complete, whose work has stopped."""

    stop: Stop


class WriterStuckError(Exception):
    """PostgreSQL neither answers a tick nor breaks its connection; all runs of the process wait for it."""


class BatchWriter:
    """One thread for all runs of a process; if it dies, the process is replaced (`worker.vitals`).

    Bounded by the slots of the process: a run has one begin, one batch, one end or one receipt under way.
    """

    def __init__(
        self,
        sessions: Sessions,
        dispatcher: Dispatcher,
        settings: Settings,
        *,
        worker_name: str,
        runs: Callable[[], int],
    ) -> None:
        """Make the writer; its thread starts with the first run.

        Args:
            runs: the number of runs that this process holds.
        """
        self._sessions = sessions
        self._runs = runs
        self._dispatcher = dispatcher
        self._lease_ttl = settings.lease_ttl
        self._patience = max(settings.database_outage_grace, settings.lease_ttl)
        self._worker_name = worker_name
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._requests: list[Request] = []
        self._due: dict[Source, float] = {}  # monotonic seconds, from which the source has a batch
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._is_dead = False
        self._pace = 0.0

    @property
    def pace(self) -> float:
        """Seconds between two batches of one run that suit the present load."""
        return self._pace

    def begin(self, run_id: uuid.UUID, attempt: int, prepare: Callable[[PlainRun], bool]) -> bool:
        """Claim and start a run, and wait for that.

        Returns:
            Whether the run is RUNNING and this attempt's. False leaves it as it was, as far as is known.
        """
        claim = Move(run_id, attempt, worker=self._worker_name, process=this_process())
        return self._decided(Begin(run_id, claim, prepare))

    def end(self, trigger: Trigger, move: Move) -> bool:
        """End a run, and wait for that.

        Returns:
            Whether the run has ended so. False leaves it as it was, as far as is known.
        """
        size = _size_of(move)
        return size <= ALONE_BYTES and self._decided(End(move.run_id, move, trigger, size=size))

    def stop(self, stop: Stop) -> bool:
        """Complete the receipt of a cancelled run, and wait for that.

        Returns:
            Whether it is complete by this call. False leaves it as it was, as far as is known.
        """
        return self._decided(Receipt(stop.run_id, stop))

    def schedule(self, source: Source, due: float) -> bool:
        """Take a batch of a source at the instant `due` (monotonic seconds), or earlier.

        Returns:
            Whether that will happen; False once the thread is dead.
        """
        with self._changed:
            if self._is_dead:
                return False
            if due < self._due.get(source, float("inf")):
                self._ensure_thread()
                self._due[source] = due
                self._changed.notify()
            return True

    @contextmanager
    def between_ticks(self) -> Generator[None]:
        """Let no tick write during a block, which locks many rows of this process' runs for a moment.

        A tick leaves out locked runs, so all of these would write alone. The block waits for no row lock.

        Raises:
            WriterStuckError: a tick has taken so long that all runs of the process are given up.
        """
        if not self._writing.acquire(timeout=self._patience.total_seconds()):
            raise WriterStuckError
        try:
            yield
        finally:
            self._writing.release()

    def close(self) -> None:
        """Stop the thread, and wait for it, at most a lease. No run may be left."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(self._lease_ttl.total_seconds())

    def _decided(self, request: Request) -> bool:
        with self._changed:
            if self._is_dead:
                return False
            self._ensure_thread()
            self._requests.append(request)
            self._changed.notify()
        request.decided.wait()
        return request.is_done

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = vitals.start("batch-writer", self._run)

    def _run(self) -> None:
        try:
            ended = float("-inf")
            while self._wait():
                pause = min(MAX_PAUSE, PAUSE_PER_RUN * (self._runs() + len(self._requests)))
                time.sleep(max(0.0, ended + pause - time.monotonic()))
                begun = time.monotonic()
                self._tick(*self._next())
                ended = time.monotonic()
                self._pace = min(MAX_PACE, 0.8 * self._pace + 0.2 * EVENTS_SHARE * (ended - begun))
        finally:
            with self._changed:  # whoever waits writes alone, also if this thread has died
                self._is_dead = True
                requests, self._requests = self._requests, []
                sources, self._due = list(self._due), {}
            for request in requests:
                request.decide(is_done=False)
            for source in sources:
                if source.take() is not None:
                    source.declined()

    def _wait(self) -> bool:
        """Wait for work; return False once the writer is closed and nothing is left."""
        with self._changed:
            while not self._requests:
                now = time.monotonic()
                first = min(self._due.values(), default=None)
                if first is not None and first <= now:
                    break
                if self._is_closed:
                    return False
                self._changed.wait(None if first is None else first - now)
            return True

    def _next(self) -> tuple[list[Request], list[Source]]:
        """Take what there is to do, of each run at most one piece."""
        with self._changed:
            requests: dict[uuid.UUID, Request] = {}
            size = 0
            for request in self._requests[:TICK_RUNS]:
                if size < TICK_BYTES and requests.setdefault(request.run_id, request) is request:
                    size += request.size
            taken = list(requests.values())
            self._requests = [request for request in self._requests if request not in taken]
            now = time.monotonic()
            sources: dict[uuid.UUID, Source] = {}
            for source, due in self._due.items():
                if due <= now and source.run_id not in requests and len(sources) < TICK_RUNS:
                    sources.setdefault(source.run_id, source)
            for source in sources.values():
                del self._due[source]
            return taken, list(sources.values())

    def _tick(self, requests: Sequence[Request], sources: Sequence[Source]) -> None:
        done: frozenset[uuid.UUID] = frozenset()
        batches: dict[Source, Batch] = {}
        try:
            size = sum(request.size for request in requests)
            for source in sources:
                if size >= TICK_BYTES:
                    self.schedule(source, 0.0)
                elif (batch := source.take()) is not None:
                    batches[source] = batch
                    size += batch.size if batch.size <= ALONE_BYTES else 0
            done = self._store(requests, [one for one in batches.values() if one.size <= ALONE_BYTES])
        finally:
            for request in requests:
                request.decide(is_done=request.run_id in done)
            for source, batch in batches.items():
                (source.stored if batch.run_id in done else source.declined)()

    def _store(self, requests: Sequence[Request], batches: Sequence[Batch]) -> frozenset[uuid.UUID]:
        """Write all of it in one transaction; return the runs of which everything is written."""
        if not (requests or batches):
            return frozenset()
        begins = [request for request in requests if isinstance(request, Begin)]
        stops = [request.stop for request in requests if isinstance(request, Receipt)]
        ends: defaultdict[Trigger, list[Move]] = defaultdict(list)
        for request in requests:
            if isinstance(request, End):
                ends[request.trigger].append(request.move)
        leading = [one.move.leading for one in requests if isinstance(one, End) and one.move.leading]
        begun_at = time.monotonic()
        try:
            with self._writing, unit_of_work(self._sessions) as session:
                done = moves.store_together(
                    session,
                    self._dispatcher,
                    begins=_ready(session, begins) if begins else [],
                    appends=batches,
                    ends=ends,
                    stops=stops,
                    lease_ttl=self._lease_ttl,
                )
        except Exception as error:  # noqa: BLE001  # whatever it is, each run meets it alone
            runs = len(requests) + len(batches)
            log.warning("batch not stored, its runs write alone", runs=runs, error=words_of(error))
            return frozenset()
        metrics.FLUSH_SECONDS.observe(time.monotonic() - begun_at, "together")
        metrics.FLUSH_EVENTS.observe(sum(len(batch.rows) for batch in (*batches, *leading)))
        return done


def _size_of(move: Move) -> int:
    """The bytes of what a move stores, as far as they matter here: of its events and its output."""
    try:
        output = len(orjson.dumps(storable(move.output), default=str))
    except (TypeError, RecursionError):  # no JSON: the run meets the error alone
        output = ALONE_BYTES + 1
    return output + (move.leading.size if move.leading else 0)


def _ready(session: Session, begins: Sequence[Begin]) -> list[Move]:
    """The claims of the runs that are plain and prepared."""
    plain = plain_runs(session, [begin.run_id for begin in begins])
    return [
        begin.move for begin in begins if (run := plain.get(begin.run_id)) is not None and begin.prepare(run)
    ]
