"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

Answer = TypeVar("Answer")

PATIENT: Final = 0.1  # of the time waited so far, the part by which an answer may come too late
LONGEST_PAUSE: Final = 0.25  # seconds


def wait_until(
    condition: Callable[[], Answer], *, timeout: float = 60.0, pause: float = 0.01, what: str = ""
) -> Answer:
    """Ask again and again until the answer is true; return it.

    Who asks takes time from those who are to act: the longer the wait, and the longer it takes to ask, the
    longer are the pauses.

    Args:
        pause: the shortest of them, in seconds.

    Raises:
        TimeoutError: it is still not true after `timeout` seconds.
    """
    begun = asked = time.monotonic()
    while not (answer := condition()):
        now = time.monotonic()
        if now > begun + timeout:
            raise TimeoutError(f"Not within {timeout} s: {what or condition}")
        time.sleep(max(pause, min(LONGEST_PAUSE, max(PATIENT * (now - begun), now - asked))))
        asked = time.monotonic()
    return answer
