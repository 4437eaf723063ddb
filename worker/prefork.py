"""Runs in child processes, Celery's prefork pool: a run that does not stop is killed with its process."""

import os
import queue
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final

import structlog
from celery.concurrency.prefork import TaskPool
from celery.worker import state

from shared.runs.lifecycle import StoppedHow
from worker.cancellation import CancelToken, StopReason
from worker.drain import Drain
from worker.vitals import vitals

DRAIN_SIGNAL: Final = signal.SIGUSR2
"""What the parent sends its children when they are to give their runs back."""

REASONS: Final = {signal.SIGTERM: StopReason.CANCELLED, DRAIN_SIGNAL: StopReason.DRAINED}
"""What a signal to a child means for its run; SIGTERM is how Celery terminates a task."""

POLL: Final = 0.05  # seconds

UPKEEP: Final = 0.5  # seconds between two looks for dead children; Celery's own 5 can cost a slot so long

log = structlog.get_logger(__name__)


class PreforkPool(TaskPool):
    """Celery's prefork pool, taken out of service by our drain."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drain: Drain | None = None

    def stop_runs(self, reason: StopReason) -> None:
        """Tell every child to give its run back, which is the only reason a parent has."""
        log.info("children told to stop", reason=reason)
        for process in list(self._pool._pool):  # type: ignore[attr-defined]  # noqa: SLF001  # as Celery's own info does
            _send(process.pid, DRAIN_SIGNAL)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no run is left, for up to `timeout` seconds; say whether that is so."""
        end = time.monotonic() + timeout
        while state.reserved_requests:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL)  # Celery's books ring no bell
        return True

    def register_with_event_loop(self, loop: Any) -> None:
        super().register_with_event_loop(loop)
        loop.call_repeatedly(UPKEEP, self.maintain_pool)

    def on_stop(self) -> None:
        if self.drain is not None:
            self.drain.complete()
        super().on_stop()


class ProcessSeat:
    """The seat of a run that has its process to itself."""

    last_resort: Final = StoppedHow.KILLED

    def __init__(self) -> None:
        self.token = CancelToken()
        self.is_terminated = False

    def abandon(self) -> None:
        """Kill this process, run and all; Celery forks another."""
        os.kill(os.getpid(), signal.SIGKILL)


def ignore_drain_signal() -> None:
    """Let a child that has no run outlive the signal; its default is death."""
    signal.signal(DRAIN_SIGNAL, signal.SIG_IGN)


@contextmanager
def process_seat() -> Generator[ProcessSeat]:
    """Seat a run in this process: signals fire its token instead of raising SystemExit just anywhere.

    Raises:
        SystemExit: on leaving, if the run was terminated. Celery's parent has it on record that
            this process dies of the signal, and would blame its next death on it.
    """
    seat = ProcessSeat()
    reasons: queue.SimpleQueue[StopReason | None] = queue.SimpleQueue()

    def notice(number: int, _frame: FrameType | None) -> None:
        # Only noted here: the token's lock may be held by the very thread this interrupts.
        seat.is_terminated = seat.is_terminated or number == signal.SIGTERM
        reasons.put(REASONS[signal.Signals(number)])

    before = {number: signal.signal(number, notice) for number in REASONS}
    vitals.start("seat", partial(_tell, seat.token, reasons))
    try:
        yield seat
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reasons.put(None)
    if seat.is_terminated:
        raise SystemExit(0)


def _tell(token: CancelToken, reasons: "queue.SimpleQueue[StopReason | None]") -> None:
    while (reason := reasons.get()) is not None:
        token.cancel(reason)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        log.info("child gone already", pid=pid)
