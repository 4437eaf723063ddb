"""How a run is told to stop: its token, and its slot in the pool."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

import structlog

from shared.lifecycle import RunStatus, StoppedHow
from shared.metrics import definitions as metrics

log = structlog.get_logger(__name__)


class StopReason(StrEnum):
    """Why a run has to stop."""

    CANCELLED = "cancelled"  # a caller cancelled it, or its Celery task was revoked
    LEASE_LOST = "lease_lost"  # another attempt holds the run, or it has ended
    TIMED_OUT = "timed_out"  # it was RUNNING for `max_duration`
    DRAINED = "drained"  # its worker shuts down, and requeues it
    DATABASE_LOST = "database_lost"  # PostgreSQL was away for too long


class RunStopped(BaseException):  # like SystemExit, it is no error: it ends code that was asked to end
    """Raised in a run's thread to end the run; `except Exception` does not catch it.

    `how` says how the work ended; None leaves it to the interrupter.
    """

    def __init__(self, how: StoppedHow | None = None) -> None:
        super().__init__()
        self.how = how


def is_stop(error: BaseException) -> bool:
    """Whether an exception ends the work of its thread: that of a stop, or of a signal under prefork.

    Any other that is no `Exception` comes from somebody's code, such as the panic of a library in Rust.
    """
    is_signal = isinstance(error, KeyboardInterrupt | SystemExit)
    return isinstance(error, RunStopped) or (
        is_signal and threading.current_thread() is threading.main_thread()
    )


class CancelToken:
    """Asks the code of a run to stop: fires once, with a reason. Safe from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._next_key = 0
        self._reason: StopReason | None = None

    @property
    def reason(self) -> StopReason | None:
        """Why the run has to stop; None before the token has fired."""
        return self._reason

    @property
    def is_cancelled(self) -> bool:
        """Whether the token has fired."""
        return self._event.is_set()

    def cancel(self, reason: StopReason) -> bool:
        """Ask the run to stop. The first reason stays.

        Returns:
            Whether this call was the first.
        """
        with self._lock:
            if self._reason is not None:
                return False
            self._reason = reason
            self._event.set()
            callbacks = list(self._callbacks.values())
        for callback in callbacks:
            _call(callback)
        return True

    def lose(self, status: str | None) -> bool:
        """Ask the run to stop, as its attempt no longer holds it.

        Args:
            status: of the run now. The reason is CANCELLED for CANCELLED, and LEASE_LOST for any other.

        Returns:
            Whether this call was the first.
        """
        if status == RunStatus.CANCELLED:
            return self.cancel(StopReason.CANCELLED)
        is_first = self.cancel(StopReason.LEASE_LOST)
        metrics.LEASES_LOST.inc(by=is_first)
        return is_first

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the token fires, for up to `timeout` seconds; return whether it has."""
        return self._event.wait(timeout)

    def raise_if_cancelled(self) -> None:
        """Raise RunStopped if the token has fired."""
        if self._event.is_set():
            raise RunStopped

    @contextmanager
    def on_cancel(self, callback: Callable[[], object]) -> Generator[None]:
        """Call `callback` when the token fires during the block; at once if it has fired.

        The thread that fires the token calls it, so it must be quick: shut a connection, set a flag.
        """
        with self._lock:
            fired = self._reason is not None
            key = self._next_key
            self._next_key += 1
            if not fired:
                self._callbacks[key] = callback
        if fired:
            _call(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        log.exception("cancel callback failed")


class Slot(Protocol):
    """Where a run is executed: in a thread of the pool, or in a process of its own."""

    token: CancelToken

    @property
    def last_resort(self) -> StoppedHow:
        """What `abandon` amounts to here: ABANDONED (threads) or KILLED (a process)."""
        ...

    def abandon(self) -> None:
        """Give up on code that does not stop: free its slot, or kill its process."""
        ...


_slots = threading.local()


def current_slot() -> Slot | None:
    """The slot of the run that this thread executes, if the pool gave it one."""
    slot: Slot | None = getattr(_slots, "slot", None)
    return slot


@contextmanager
def in_slot(slot: Slot) -> Generator[None]:
    """Let `current_slot()` answer `slot` in this thread during the block."""
    _slots.slot = slot
    try:
        yield
    finally:
        _slots.slot = None
