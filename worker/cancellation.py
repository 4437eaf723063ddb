"""How a run is told to stop: its token, and its seat in the pool."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

import structlog

from shared.runs.lifecycle import StoppedHow

log = structlog.get_logger(__name__)


class StopReason(StrEnum):
    """Why a run is to stop."""

    CANCELLED = "cancelled"  # somebody cancelled it; the row says so already, or is about to
    LEASE_LOST = "lease_lost"  # the run is another attempt's, or has ended
    TIMED_OUT = "timed_out"  # it has been RUNNING for as long as it may
    DRAINED = "drained"  # its worker stops and gives it back
    DATABASE_LOST = "database_lost"  # what it does can no longer be recorded


class RunStopped(BaseException):  # no error: like SystemExit, it ends code that was asked to end
    """Raised in a run's thread to end it; no `except Exception` on the way swallows it.

    `how` says how the work ended, if whoever raises it knows better than the ladder.
    """

    def __init__(self, how: StoppedHow | None = None) -> None:
        super().__init__()
        self.how = how


class CancelToken:
    """Says once, to whoever works for a run, that it is to stop. Safe from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._next_key = 0
        self._reason: StopReason | None = None

    @property
    def reason(self) -> StopReason | None:
        """Why the run is to stop; None while it is not."""
        return self._reason

    @property
    def is_cancelled(self) -> bool:
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

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is to stop, for up to `timeout` seconds; say whether it is."""
        return self._event.wait(timeout)

    def raise_if_cancelled(self) -> None:
        """Raise RunStopped if the run is to stop."""
        if self._event.is_set():
            raise RunStopped

    @contextmanager
    def on_cancel(self, callback: Callable[[], object]) -> Generator[None]:
        """Call `callback` if the token fires during the block; at once if it already has.

        It is called in the thread that cancels, so it must be quick: shut a connection, set a flag.
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


class Seat(Protocol):
    """Where a run sits while it is executed: a thread of the pool, or a process of its own."""

    token: CancelToken

    @property
    def last_resort(self) -> StoppedHow:
        """What `abandon` amounts to here: ABANDONED (threads) or KILLED (a process)."""
        ...

    def abandon(self) -> None:
        """Give up on code that does not stop: free its slot, or kill its process."""
        ...


_seats = threading.local()


def current_seat() -> Seat | None:
    """The seat of the run that this thread executes, if the pool gave it one."""
    seat: Seat | None = getattr(_seats, "seat", None)
    return seat


@contextmanager
def seated(seat: Seat) -> Generator[None]:
    """Let `current_seat()` answer `seat` in this thread during the block."""
    _seats.seat = seat
    try:
        yield
    finally:
        _seats.seat = None
