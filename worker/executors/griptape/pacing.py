"""Request pacing: an interval between requests to a provider that answered 429."""

import threading
import time
from typing import Final

_FIRST_INTERVAL: Final = 0.05  # seconds between two requests, once a provider has had too many
_LONGEST_INTERVAL: Final = 0.5  # seconds
_SHORTEST_INTERVAL: Final = 0.01  # seconds; below it requests are not held back
_SLOWER: Final = 1.5
_FASTER: Final = 0.85
_MOST_PACES: Final = 1_000


class Pace:
    """The pace of one provider, shared by all runs of the process. Safe from any thread.

    A refusal for too many requests widens the interval between two, at most once for each that was
    sent at the interval it found; each answer narrows it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interval = 0.0
        self._next = 0.0
        self._widened_at = 0.0

    def turn(self) -> float:
        """Take a turn; return the seconds until the caller may send its request."""
        with self._lock:
            now = time.monotonic()
            if not self._interval:
                return 0.0
            self._next = max(now, self._next) + self._interval
            return self._next - now

    def refused(self, sent_at: float) -> None:
        """Record a refusal for too many requests; `sent_at` is of the monotonic clock."""
        with self._lock:
            if self._interval and sent_at < self._widened_at:
                return  # it was sent before the provider's last word took effect
            self._interval = min(max(self._interval * _SLOWER, _FIRST_INTERVAL), _LONGEST_INTERVAL)
            self._widened_at = time.monotonic()

    def answered(self) -> None:
        with self._lock:
            self._interval *= _FASTER
            if self._interval < _SHORTEST_INTERVAL:
                self._interval = 0.0


_paces: dict[tuple[str, str], Pace] = {}
_lock = threading.Lock()


def pace_of(provider: str, address: str) -> Pace:
    """The pace of a provider in this process."""
    with _lock:
        if len(_paces) >= _MOST_PACES:
            _paces.clear()
        return _paces.setdefault((provider, address), Pace())
