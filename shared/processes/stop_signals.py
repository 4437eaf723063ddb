"""Signals that ask a process to stop, for those who wait for an event."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


def sets(event: threading.Event) -> Handler:
    """Return a signal handler that sets an event, by way of another thread.

    A handler executes in the main thread between any two of its instructions, and so within `wait` or `set`
    of that very event too: to set it there would wait for ever for a lock that the thread itself holds.
    """
    arrived: SimpleQueue[int] = SimpleQueue()  # a handler may put into it at any time

    def pass_on() -> None:
        arrived.get()
        event.set()

    threading.Thread(target=pass_on, name="stop-signals", daemon=True).start()
    return lambda number, _frame: arrived.put(number)
