"""The ladder by which a run that is to stop is made to stop, within the grace."""

import contextvars
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from shared.runs.lifecycle import StoppedHow
from worker.cancellation import CancelToken, RunStopped
from worker.vitals import vitals

T = TypeVar("T")

COOPERATIVE_SHARE: Final = 0.4
"""The part of the grace in which the code may end by itself, its connections being shut already."""

CHECKS: Final = 100
"""Turns of a loop in which the interpreter looks for a pending exception at every turn.

To take one back instead, with a null pointer, would leave CPython 3.11 believing for ever that there
is one: every call of the process would go the slow way, and a profiled one would never return.
"""

INTERRUPT_PAUSE: Final = 0.5  # seconds between two exceptions raised in a thread that swallows them

IMPORT_PAUSE: Final = 0.02  # seconds until the next look at a thread that was importing a module

_IMPORT_MACHINERY: Final = "<frozen importlib._bootstrap>"


class Ladder:
    """Does one run's work in the calling thread, and makes it stop once the token has fired.

    The token's callbacks have shut what the run was reading from by then. The code has its share of
    the grace to return; then RunStopped is raised in its thread, again and again, but not while it
    imports a module: the process would be left with half of it for ever. At the end of the grace
    `give_up` is called, in the ladder's own thread, and the code is on its own.
    """

    def __init__(
        self,
        token: CancelToken,
        *,
        grace: float,
        give_up: Callable[[], object],
        cooperative_share: float = COOPERATIVE_SHARE,
    ) -> None:
        self._token = token
        self._grace = grace
        self._cooperative = grace * cooperative_share
        self._give_up = give_up
        self._thread_id = threading.get_ident()
        self._context = contextvars.copy_context()  # the run's, for what the ladder's thread logs
        self._lock = threading.RLock()  # an exception may be raised while the worker thread holds it
        self._left = threading.Event()
        self._was_interrupted = False
        self._gave_up = False

    @property
    def how(self) -> StoppedHow:
        """How the code ended, after the token had fired."""
        return StoppedHow.INTERRUPTED if self._was_interrupted else StoppedHow.COOPERATIVE

    @property
    def gave_up(self) -> bool:
        """Whether `give_up` was called: somebody else has finished the run."""
        return self._gave_up

    def watch(self, work: Callable[[], T]) -> T:
        """Do `work`. Once this has returned or raised, the ladder raises nothing in the thread.

        Raises:
            RunStopped: the code was interrupted, or saw the token by itself.
        """
        with self._token.on_cancel(self._start):
            try:
                return work()
            finally:
                self._disarm()

    def _disarm(self) -> None:
        while True:
            try:
                with self._lock:
                    self._left.set()
                for _ in range(CHECKS):  # one that is on its way already is raised in here
                    pass
            except RunStopped:
                continue
            return

    def _start(self) -> None:
        vitals.start("ladder", partial(self._context.run, self._climb))

    def _climb(self) -> None:
        end = time.monotonic() + self._grace
        if self._left.wait(self._cooperative):
            return
        while time.monotonic() < end:
            pause = INTERRUPT_PAUSE if self._interrupt() else IMPORT_PAUSE
            if self._left.wait(min(pause, max(0.01, end - time.monotonic()))):
                return
        with self._lock:
            if self._left.is_set():
                return
            self._gave_up = True
        self._give_up()

    def _interrupt(self) -> bool:
        """Raise RunStopped in the thread, if it may be; say whether it was."""
        with self._lock:
            if self._left.is_set() or _is_importing(self._thread_id):
                return False
            self._was_interrupted = True
            _raise_in(self._thread_id)
            return True


def _raise_in(thread_id: int) -> None:
    """Raise RunStopped in a thread, at its next bytecode; one blocked in C does not notice."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(RunStopped))


def _is_importing(thread_id: int) -> bool:
    """Whether a thread is in the middle of an import that its work has begun."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  # documented, for tools like this
    while frame is not None and frame.f_code is not Ladder.watch.__code__:
        if frame.f_code.co_filename == _IMPORT_MACHINERY:
            return True
        frame = frame.f_back
    return False
