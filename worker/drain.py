"""How a worker process is taken out of service: let go of the queues, see its runs out, exit."""

import os
import queue
import threading
import time
from enum import Enum, auto
from typing import Any, Final, Protocol

import structlog
from celery.worker import state

from shared.settings import Settings
from worker import lifeline
from worker.cancellation import StopReason
from worker.supervisor import EX_DRAINED
from worker.vitals import vitals

EX_BROKEN: Final = 1  # Celery gives up by itself: the process is to be replaced
TICK: Final = 0.1  # seconds between two looks for further orders while runs are seen out
STOP_MARGIN: Final = 1.0  # seconds beyond the cancel grace for runs to record how they ended
EXIT_PATIENCE: Final = 3.0  # seconds for Celery to say goodbye to a broker that may not answer

log = structlog.get_logger(__name__)


class Crew(Protocol):
    """The runs of a worker process, as its pool knows them."""

    def stop_runs(self, reason: StopReason) -> None:
        """Tell every run to stop."""
        ...

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no run is left, for up to `timeout` seconds; say whether that is so."""
        ...


class Post(Protocol):
    """The place of a worker process between its broker and its supervisor."""

    def close_intake(self) -> None:
        """Take nothing from the queues any more."""
        ...

    def leave(self, code: int) -> None:
        """Have the process exit soon, in good order."""
        ...

    def vanish(self, code: int) -> None:
        """Exit at once."""
        ...

    def ask_for_successor(self) -> None:
        """Let the supervisor know that this process takes nothing new."""
        ...


class ConsumerPost:
    """The post of a process whose broker connection a Celery consumer keeps."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def close_intake(self) -> None:
        self._consumer.call_soon(self._cancel_queues)

    def leave(self, code: int) -> None:
        setattr(state, "should_stop", code)  # noqa: B010  # the stubs do not know it
        self._consumer.call_soon(_wake)

    def vanish(self, code: int) -> None:
        os._exit(code)

    def ask_for_successor(self) -> None:
        lifeline.ask_for_successor()

    def _cancel_queues(self) -> None:
        # Deselected too, so that a reconnect in between does not take them up again. A message
        # that was on its way finds no consumer, and goes back to its queue.
        for name in list(self._consumer.app.amqp.queues.consume_from):
            self._consumer.cancel_task_queue(name)


def _wake() -> None:
    """Do nothing, but in the event loop: it looks at `should_stop` whenever it turns."""


class _Order(Enum):
    RECYCLE = auto()
    DRAIN = auto()
    REPLACE = auto()


class Drain:
    """Takes a process out of service when it is ordered to, once.

    A DRAIN lets the runs go on for the grace, then has them given back, and exits even if one of
    them is stuck. A second one ends the grace, a third one the wait. A RECYCLE waits for the runs
    without end: they are the neighbours of one that would not stop, and have done nothing wrong.

    Orders come from signal handlers too, so giving one takes no lock that their thread could hold.
    """

    def __init__(self, crew: Crew, post: Post, settings: Settings) -> None:
        self._crew = crew
        self._post = post
        self._grace = settings.drain_grace.total_seconds()
        self._patience = settings.cancel_grace.total_seconds() + STOP_MARGIN
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._is_ordered = False
        self._has_echo = False
        self._code = EX_DRAINED
        self._deadline = float("inf")
        self._completed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Be ready for orders."""
        self._thread = vitals.start("drain", self._obey)
        vitals.on_death(self.replace)

    def order(self) -> None:
        """Drain; ordered again, hurry."""
        if self._has_echo:
            self._has_echo = False
            return
        self._is_ordered = True
        self._orders.put(_Order.DRAIN)

    def begin(self) -> None:
        """Drain as an operator asks for it; if that is ordered already, change nothing.

        The next order is taken for the echo of this one, and hurries nobody: a supervisor stops the
        process when a sibling is through, and whoever started the worker when the operator is.
        """
        if not self._is_ordered:
            self.order()
            self._has_echo = True

    def recycle(self) -> None:
        """Have this process replaced, at the pace of its runs."""
        self._orders.put(_Order.RECYCLE)

    def replace(self) -> None:
        """Have this process replaced now: it has lost what it lives by (`worker.vitals`).

        Its runs are given back, since nobody renews their leases; without its drain, it just exits.
        """
        if self._thread is None or not self._thread.is_alive() or self._thread is threading.current_thread():
            self._post.vanish(lifeline.EX_RECYCLE)
            return
        self._is_ordered = True
        self._orders.put(_Order.REPLACE)

    def complete(self) -> None:
        """Wait until the runs are seen out; if nobody has ordered that, do."""
        if not self._is_ordered:
            if self._code == EX_DRAINED:  # a recycling process is replaced anyway
                self._code = EX_BROKEN
            self.order()
        self._completed.wait()

    def _obey(self) -> None:
        self._take(self._orders.get())
        log.info("drain begun", exit_code=self._code)
        self._post.close_intake()
        if not self._crew_is_gone():
            log.info("drain grace over")
            self._crew.stop_runs(StopReason.DRAINED)
            self._deadline = time.monotonic() + self._patience
            if not self._crew_is_gone():
                log.error("runs left behind by the drain")
        self._completed.set()
        self._post.leave(self._code)
        self._wait_for_exit()
        self._post.vanish(self._code)

    def _crew_is_gone(self) -> bool:
        """Wait for the runs until the deadline, which further orders may move."""
        while not self._crew.wait_idle(TICK):
            self._take_waiting()
            if time.monotonic() >= self._deadline:
                return False
        return True

    def _wait_for_exit(self) -> None:
        """Wait to be ended with the process, until that takes too long or somebody is in a hurry."""
        end = time.monotonic() + EXIT_PATIENCE
        while (left := end - time.monotonic()) > 0:
            try:
                if self._orders.get(timeout=left) is _Order.DRAIN:
                    return
            except queue.Empty:
                log.warning("exit takes too long")

    def _take_waiting(self) -> None:
        while not self._orders.empty():  # this thread alone takes
            self._take(self._orders.get())

    def _take(self, order: _Order) -> None:
        now = time.monotonic()
        if order is not _Order.DRAIN:
            self._code = lifeline.EX_RECYCLE
            self._post.ask_for_successor()
            if order is _Order.REPLACE:
                self._deadline = now
        elif self._deadline == float("inf"):
            self._deadline = now + self._grace
        else:
            self._deadline = now
