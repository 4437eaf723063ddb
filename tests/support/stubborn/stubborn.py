"""An executor that does not stop when asked: `stubborn/<way>`, for workers with this folder on their path."""

import ctypes
import signal
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from shared.artifacts import text_artifact
from worker.executors.base import Emit, ExecutorEvent, Outcome, RunContext, Succeeded

FOR_LONG: Final = 60.0  # seconds; far beyond any grace
EVENT: Final = "StubbornEvent"


def _busy() -> None:
    """Compute, and look at nothing."""
    end = time.monotonic() + FOR_LONG
    while time.monotonic() < end:
        pass


def _sleep() -> None:
    """Block in C, as a tool that sleeps."""
    time.sleep(FOR_LONG)


def _swallow() -> None:
    """Take every exception for one of its own."""
    end = time.monotonic() + FOR_LONG
    while time.monotonic() < end:
        try:
            time.sleep(0.02)
        except BaseException:  # noqa: BLE001, S112  # what this is about
            continue


def _deaf() -> None:
    """Ignore SIGTERM, where that can be: in a process of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _sleep()


def _hold() -> None:
    """Keep the interpreter lock in C, once what was said is stored."""
    time.sleep(1)
    ctypes.PyDLL(None).usleep(int(FOR_LONG * 1_000_000))


LOUD_EVENTS: Final = 200
LOUD_BYTES: Final = 50_000  # of each


def loud(context: RunContext, emit: Emit) -> Outcome:
    """Say more than is kept for a reader that does not read."""
    for number in range(LOUD_EVENTS):
        emit(ExecutorEvent(EVENT, {"type": EVENT, "number": number, "noise": "x" * LOUD_BYTES}))
    return Succeeded(text_artifact("done"))


WAYS: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {"busy": _busy, "sleep": _sleep, "swallow": _swallow, "deaf": _deaf, "hold": _hold}
)


def execute(context: RunContext, emit: Emit) -> Outcome:
    """Say that it is in there, then do not stop."""
    emit(ExecutorEvent(EVENT, {"type": EVENT}))
    WAYS[context.model.partition("/")[2]]()
    emit(ExecutorEvent(EVENT, {"type": EVENT, "after": FOR_LONG}))
    return Succeeded(text_artifact("done"))
