"""The prefork pool: each run has a child process, which is killed if it does not stop or falls silent."""

import mmap
import os
import queue
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, Final

import structlog
from billiard.process import current_process
from celery.concurrency.prefork import TaskPool
from celery.worker import state

from shared.lifecycle import StoppedHow
from shared.logs import flush_logs
from shared.metrics import definitions as metrics
from shared.processes.silence import Silence, beat_interval, silence_limit
from shared.settings import get_settings
from worker.cancellation import CancelToken, StopReason
from worker.process import life
from worker.process.drain import Drain
from worker.vitals import vitals

DRAIN_SIGNAL: Final = signal.SIGUSR2
"""The parent's signal to its children to give their runs back to the queue."""

REASONS: Final = {signal.SIGTERM: StopReason.CANCELLED, DRAIN_SIGNAL: StopReason.DRAINED}
"""The stop reason of each signal to a child. Celery terminates a task by SIGTERM."""

IDLE_INTERVAL: Final = 0.05  # seconds between two checks for runs
MAINTENANCE_INTERVAL: Final = 0.5  # seconds between two checks for dead children; Celery's 5 can block a slot

MAX_CHILDREN: Final = 4096 // 8
"""Children whose silence is noticed; nobody has so many."""

log = structlog.get_logger(__name__)

_signs: Final = memoryview(mmap.mmap(-1, 8 * MAX_CHILDREN)).cast("d")
"""When each child, by its place in the pool, last showed life: memory that forks share."""


class PreforkPool(TaskPool):
    """Celery's prefork pool with our drain."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drain: Drain | None = None
        metrics.SLOTS.set(self.limit)
        self._watched: dict[int, _Child] = {}

    def on_start(self) -> None:
        super().on_start()
        self._silence_limit = silence_limit(get_settings())
        life.with_each_beat(self.kill_silent)

    def kill_silent(self) -> None:
        """Kill children whose leases have lapsed by their silence; Celery forks others.

        Called in the thread that shows this process's life, also while the broker is away.
        """
        pool: Any = getattr(self, "_pool")  # noqa: B009  # missing in the stubs; None once it has stopped
        present = {one.pid: one.index for one in list(pool._pool)} if pool is not None else {}  # noqa: SLF001  # as Celery's own info does
        for pid, place in present.items():
            if place < MAX_CHILDREN and pid not in self._watched:
                self._watched[pid] = _Child(place, self._silence_limit)
        self._watched = {pid: child for pid, child in self._watched.items() if pid in present}
        for pid, child in self._watched.items():
            if child.is_silent():
                log.error("child killed: it fell silent", pid=pid, seconds=round(child.silence.seconds, 1))
                child.silence.end(is_ready=True)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def stop_runs(self, reason: StopReason) -> None:
        """Tell every child to give its run back: a parent has no other reason."""
        log.info("children told to stop", reason=reason)
        for process in list(self._pool._pool):  # type: ignore[attr-defined]  # noqa: SLF001  # as Celery's own info does
            try:
                os.kill(process.pid, DRAIN_SIGNAL)
            except ProcessLookupError:
                log.info("child gone already", pid=process.pid)

    def wait_idle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no run is left; return whether none is."""
        end = time.monotonic() + timeout
        while state.reserved_requests:
            if time.monotonic() >= end:
                return False
            time.sleep(IDLE_INTERVAL)  # Celery's set of requests has no event
        return True

    def register_with_event_loop(self, loop: Any) -> None:
        super().register_with_event_loop(loop)
        loop.call_repeatedly(MAINTENANCE_INTERVAL, self.maintain_pool)

    def on_stop(self) -> None:
        if self.drain is not None:
            self.drain.complete()
        super().on_stop()


class _Child:
    """What the parent has seen of a child."""

    def __init__(self, place: int, limit: float) -> None:
        self._place = place
        self._sign = 0.0
        self.silence = Silence(limit)
        self.silence.end(is_ready=True)  # a fork has everything

    def is_silent(self) -> bool:
        """Look for a new sign; return whether the child is to be killed."""
        sign = _signs[self._place]
        if sign != self._sign:
            self._sign = sign
            self.silence.end(is_ready=True)
        return self.silence.is_too_long()


def show_life_to_parent() -> None:
    """Show the parent from now on that this child lives."""
    place: int = current_process().index  # type: ignore[attr-defined]  # of the pool
    if place >= MAX_CHILDREN:
        return
    interval = beat_interval(get_settings())

    def beat() -> None:
        while True:
            _signs[place] = time.monotonic()
            time.sleep(interval)

    vitals.start("life", beat)


class ProcessSlot:
    """The slot of a run that has a process of its own."""

    last_resort: Final = StoppedHow.KILLED

    def __init__(self) -> None:
        self.token = CancelToken()
        self.is_terminated = False

    def abandon(self) -> None:
        """Kill this process with its run; Celery forks another."""
        flush_logs()
        os.kill(os.getpid(), signal.SIGKILL)


def ignore_drain_signal() -> None:
    """Ignore the drain signal in a child without a run; the default action is death."""
    signal.signal(DRAIN_SIGNAL, signal.SIG_IGN)


@contextmanager
def process_slot() -> Generator[ProcessSlot]:
    """Give a run this process as its slot: signals fire its token instead of raising SystemExit anywhere.

    Raises:
        SystemExit: at the end of the block, if the run was terminated. Celery's parent expects the process
            to die of the signal, and would take its next death for that one.
    """
    slot = ProcessSlot()
    reasons: queue.SimpleQueue[StopReason | None] = queue.SimpleQueue()

    def notice(number: int, _frame: FrameType | None) -> None:
        # Only recorded here: the thread that the signal interrupts may hold the token's lock.
        slot.is_terminated = slot.is_terminated or number == signal.SIGTERM
        reasons.put(REASONS[signal.Signals(number)])

    before = {number: signal.signal(number, notice) for number in REASONS}
    vitals.start("slot", partial(_fire, slot.token, reasons))
    metrics.BUSY_SLOTS.inc()
    try:
        yield slot
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reasons.put(None)
        metrics.BUSY_SLOTS.inc(by=-1)
    if slot.is_terminated:
        raise SystemExit(0)


def _fire(token: CancelToken, reasons: "queue.SimpleQueue[StopReason | None]") -> None:
    while (reason := reasons.get()) is not None:
        token.cancel(reason)
