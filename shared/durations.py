"""Durations as people write them: `30d`, `12h`, `90m`, `45s`, or seconds."""

import math
import re
from datetime import timedelta
from typing import Final

FORMS: Final = "a duration such as 30d, 12h, 10m or 20s"
"""For messages."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WRITTEN: Final = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([smhdw]?)\s*", re.IGNORECASE)


class TooLongError(ValueError):
    """A duration is longer than can be kept."""

    def __init__(self) -> None:
        super().__init__("must be at most 100 years")


def parse_duration(text: str) -> timedelta:
    """Read a number with a unit (s, m, h, d, w); without one it is seconds. It may be negative.

    Raises:
        TooLongError: it is longer than can be kept.
        ValueError: the text is no duration.
    """
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError(f"must be {FORMS}, or a number of seconds")
    seconds = float(written[1]) * _UNITS[written[2].lower()]
    if not math.isfinite(seconds) or abs(seconds) > timedelta(days=36_500).total_seconds():
        raise TooLongError
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """A duration in its largest whole unit: `30d`, `36h`, `90s`."""
    seconds = duration.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"
