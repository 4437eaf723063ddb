"""The interrupter: it stops the code of a run within the grace, by an exception if need be."""

import contextvars
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from shared.lifecycle import StoppedHow
from worker.cancellation import CancelToken, RunStopped
from worker.executors.policy import DEFAULT_POLICY, Policy
from worker.vitals import vitals

T = TypeVar("T")

PENDING_CHECKS: Final = 100
"""Turns of a loop in which the interpreter looks for a pending exception at every turn.

To take one back instead, with a null pointer, would leave CPython 3.11 believing for ever that there
is one: every call of the process would go the slow way, and a profiled one would never return.
"""

INTERRUPT_INTERVAL: Final = 0.5  # seconds between two exceptions raised in a thread that swallows them

IMPORT_POLL_INTERVAL: Final = 0.02  # seconds between two looks at a thread that imports a module

_IMPORT_MACHINERY: Final = "<frozen importlib._bootstrap>"


class Interrupter:
    """Executes the work of one run in the calling thread, and stops it once the token has fired.

    The token's callbacks have shut the run's connections by then. The code has the cooperative part of its
    time to return. Then RunStopped is raised in its thread, again and again, but not while it imports a
    module: the process would keep half of the module for ever. At the end of its time `give_up` is called
    in the interrupter's own thread, and the code is abandoned.
    """

    def __init__(
        self,
        token: CancelToken,
        *,
        grace: float,
        give_up: Callable[[], object],
        policy: Policy = DEFAULT_POLICY,
    ) -> None:
        """Make it, in the thread that does the work.

        Args:
            grace: seconds that a run has to stop; `policy` divides them.
        """
        self._token = token
        self._timeout = policy.stop_timeout(grace)
        self._cooperative_timeout = policy.cooperative_timeout(grace)
        self._give_up = give_up
        self._thread_id = threading.get_ident()
        self._context = contextvars.copy_context()  # the run's, for log lines of the interrupter's thread
        self._lock = threading.RLock()  # an exception may be raised while the worker thread holds it
        self._left = threading.Event()
        self._was_interrupted = False
        self._gave_up = False

    @property
    def how(self) -> StoppedHow:
        """How the code ended after the token had fired."""
        return StoppedHow.INTERRUPTED if self._was_interrupted else StoppedHow.COOPERATIVE

    @property
    def gave_up(self) -> bool:
        """Whether `give_up` was called: the interrupter's thread has ended the run."""
        return self._gave_up

    def watch(self, work: Callable[[], T]) -> T:
        """Do `work`. Once this has returned or raised, nothing more is raised in the thread.

        Raises:
            RunStopped: the code was interrupted, or looked at the token itself.
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
                for _ in range(PENDING_CHECKS):  # an exception that is pending is raised in here
                    pass
            except RunStopped:
                continue
            return

    def _start(self) -> None:
        vitals.start("interrupter", partial(self._context.run, self._stop))

    def _stop(self) -> None:
        end = time.monotonic() + self._timeout
        if self._left.wait(self._cooperative_timeout):
            return
        while time.monotonic() < end:
            pause = INTERRUPT_INTERVAL if self._interrupt() else IMPORT_POLL_INTERVAL
            if self._left.wait(min(pause, max(0.01, end - time.monotonic()))):
                return
        with self._lock:
            if self._left.is_set():
                return
            self._gave_up = True
        self._give_up()

    def _interrupt(self) -> bool:
        """Raise RunStopped in the thread unless it imports a module; return whether it was raised."""
        with self._lock:
            if self._left.is_set() or _is_importing(self._thread_id):
                return False
            self._was_interrupted = True
            _raise_in(self._thread_id)
            return True


def _raise_in(thread_id: int) -> None:
    """Raise RunStopped in a thread, at its next bytecode; a thread blocked in C does not notice."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(RunStopped))


def _is_importing(thread_id: int) -> bool:
    """Whether a thread imports a module on behalf of its work."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001  # documented, for tools like this
    while frame is not None and frame.f_code is not Interrupter.watch.__code__:
        if frame.f_code.co_filename == _IMPORT_MACHINERY:
            return True
        frame = frame.f_back
    return False
