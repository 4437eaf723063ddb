"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_until(
    condition: Callable[[], Answer], *, timeout: float = 60.0, pause: float = 0.01, what: str = ""
) -> Answer:
    """Ask again and again until the answer is true; return it.

    Raises:
        TimeoutError: it is still not true after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not within {timeout} s: {what or condition}")
        time.sleep(pause)
    return answer
