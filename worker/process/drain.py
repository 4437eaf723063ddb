"""Draining a worker process: it leaves the queues, waits for its runs, and exits."""

import os
import queue
import threading
import time
from enum import Enum, auto
from typing import Any, Final, Protocol

import structlog
from celery.worker import state

from shared import tracing
from shared.logs import flush_logs
from shared.settings import Settings
from worker.cancellation import StopReason
from worker.process import supervisor_link
from worker.process.supervisor import EX_DRAINED
from worker.vitals import vitals

EX_BROKEN: Final = 1  # Celery gave up by itself: the supervisor replaces the process
ORDER_INTERVAL: Final = 0.1  # seconds between two checks for further orders
STOP_MARGIN: Final = 1.0  # seconds beyond the cancel grace for runs to record how they ended
EXIT_TIMEOUT: Final = 3.0  # seconds for Celery to disconnect from a broker that may not answer

log = structlog.get_logger(__name__)


class RunPool(Protocol):
    """The runs of a worker process: its pool."""

    def stop_runs(self, reason: StopReason) -> None:
        """Tell every run to stop."""
        ...

    def wait_idle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until no run is left; return whether none is."""
        ...


class WorkerControl(Protocol):
    """What a drain does to its own process: intake, exit, successor."""

    def close_intake(self) -> None:
        """Stop taking messages from the queues."""
        ...

    def exit_gracefully(self, code: int) -> None:
        """Let Celery shut down and exit with this code."""
        ...

    def exit_now(self, code: int) -> None:
        """Exit at once with this code."""
        ...

    def ask_for_successor(self) -> None:
        """Ask the supervisor for a process in the place of this one."""
        ...


class ConsumerControl:
    """Controls a process through its Celery consumer."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def close_intake(self) -> None:
        self._consumer.call_soon(self._cancel_queues)

    def exit_gracefully(self, code: int) -> None:
        setattr(state, "should_stop", code)  # noqa: B010  # the stubs do not know it
        self._consumer.call_soon(_wake)

    def exit_now(self, code: int) -> None:
        tracing.close()
        flush_logs()
        os._exit(code)

    def ask_for_successor(self) -> None:
        supervisor_link.ask_for_successor()

    def _cancel_queues(self) -> None:
        # This deselects them too, so a reconnect does not take them up again. A message on its way
        # finds no consumer and goes back to its queue.
        for name in list(self._consumer.app.amqp.queues.consume_from):
            self._consumer.cancel_task_queue(name)


def _wake() -> None:
    """Do nothing, in the event loop: each turn of it checks `should_stop`."""


class _Order(Enum):
    RECYCLE = auto()
    DRAIN = auto()
    REPLACE = auto()


class Drain:
    """Takes a process out of service once, on order.

    A DRAIN lets the runs continue for the drain grace, then gives them back to the queue, and exits even if
    one is stuck. A second DRAIN ends the grace, a third one the wait. A RECYCLE waits for the runs without
    limit: they are healthy neighbours of a run that did not stop.

    Signal handlers give orders too, so an order takes no lock that their thread could hold.
    """

    def __init__(self, pool: RunPool, control: WorkerControl, settings: Settings) -> None:
        self._pool = pool
        self._control = control
        self._grace = settings.drain_grace.total_seconds()
        self._stop_timeout = settings.cancel_grace.total_seconds() + STOP_MARGIN
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._is_ordered = False
        self._has_echo = False
        self._code = EX_DRAINED
        self._deadline = float("inf")
        self._completed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that executes orders."""
        self._thread = vitals.start("drain", self._run)
        vitals.on_death(self.replace)

    def order(self) -> None:
        """Order a DRAIN; each further order hurries it."""
        if self._has_echo:
            self._has_echo = False
            return
        self._is_ordered = True
        self._orders.put(_Order.DRAIN)

    def request(self) -> None:
        """Drain at an operator's request; change nothing if a drain is ordered already.

        The next order counts as the echo of this request and does not hurry the drain: the supervisor stops
        every process once a sibling has drained.
        """
        if not self._is_ordered:
            self.order()
            self._has_echo = True

    def recycle(self) -> None:
        """Order a RECYCLE: a successor starts now, this process exits after its last run."""
        self._orders.put(_Order.RECYCLE)

    def replace(self) -> None:
        """Replace this process now: one of its vital threads died (`worker.vitals`).

        Its runs go back to the queue, since nothing renews their leases. If the drain's own thread died, the
        process exits at once.
        """
        if self._thread is None or not self._thread.is_alive() or self._thread is threading.current_thread():
            self._control.exit_now(supervisor_link.EX_RECYCLE)
            return
        self._is_ordered = True
        self._orders.put(_Order.REPLACE)

    def complete(self) -> None:
        """Wait until the drain is complete; order one if none was."""
        if not self._is_ordered:
            if self._code == EX_DRAINED:  # the supervisor replaces a recycled process anyway
                self._code = EX_BROKEN
            self.order()
        self._completed.wait()

    def _run(self) -> None:
        self._take(self._orders.get())
        log.info("drain begun", exit_code=self._code)
        self._control.close_intake()
        if not self._is_idle_in_time():
            log.info("drain grace over")
            self._pool.stop_runs(StopReason.DRAINED)
            self._deadline = time.monotonic() + self._stop_timeout
            if not self._is_idle_in_time():
                log.error("runs left behind by the drain")
        self._completed.set()
        self._control.exit_gracefully(self._code)
        end = time.monotonic() + EXIT_TIMEOUT
        while (left := end - time.monotonic()) > 0:
            try:
                if self._orders.get(timeout=left) is _Order.DRAIN:
                    break
            except queue.Empty:
                log.warning("exit takes too long")
        self._control.exit_now(self._code)

    def _is_idle_in_time(self) -> bool:
        """Wait for the runs until the deadline, which further orders move; return whether none is left."""
        while not self._pool.wait_idle(ORDER_INTERVAL):
            while not self._orders.empty():  # only this thread takes orders
                self._take(self._orders.get())
            if time.monotonic() >= self._deadline:
                return False
        return True

    def _take(self, order: _Order) -> None:
        now = time.monotonic()
        if order is not _Order.DRAIN:
            self._code = supervisor_link.EX_RECYCLE
            self._control.ask_for_successor()
            if order is _Order.REPLACE:
                self._deadline = now
        elif self._deadline == float("inf"):
            self._deadline = now + self._grace
        else:
            self._deadline = now
