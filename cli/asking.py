"""Questions to servers that may not answer: a thread asks, and the command goes on without it."""

import threading
from collections.abc import Callable
from typing import Final

_asking: Final[list[threading.Thread]] = []


def answers_within(seconds: float, ask: Callable[[], bool]) -> bool:
    """Return an answer; False if it does not come in time. The thread ends with this process."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    _asking.append(thread)
    thread.start()
    thread.join(seconds)
    return any(answers)


def are_asking() -> bool:
    """Whether a thread still waits for its answer."""
    return any(thread.is_alive() for thread in _asking)
