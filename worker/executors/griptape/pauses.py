"""The pause that a provider asks for, in any of its forms."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}
_DURATION: Final = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)(ms|s|m|h)")
_IN_WORDS: Final = re.compile(
    r"(?:try again|retry|wait)[^.\d]{0,40}?"
    r"((?:\d+(?:\.\d+)?\s?(?:ms|s|m|h)(?![a-z])\s?)+|\d+(?:\.\d+)?\s?seconds?)",
    re.IGNORECASE,
)


def asked_pause(headers: Mapping[str, str], body: Any, words: str) -> float:
    """Return the seconds that a refusal asks to wait; 0 if it does not.

    Args:
        headers: of the response: `retry-after-ms`, or `Retry-After` as a number or a date.
        body: of the response: Google's `RetryInfo` is in it.
        words: of the refusal, which may be the only place.
    """
    said = _IN_WORDS.search(words)
    in_words = re.sub(r"\s?seconds?", "s", said[1].replace(" ", "")) if said else ""
    known = {str(name).lower(): str(value).strip() for name, value in headers.items()}
    for seconds in (
        _number(known.get("retry-after-ms", "")) / 1_000,
        _number(known.get("retry-after", "")),
        _until(known.get("retry-after", "")),
        *(_duration(delay) for delay in _delays(body)),
        _duration(in_words),
    ):
        if seconds > 0:
            return seconds
    return 0.0


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 < number < float("inf") else 0.0


def _until(text: str) -> float:
    """Seconds until a date, as HTTP writes it."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()


def _delays(body: Any) -> Iterator[str]:
    """Every `retryDelay` in a body, such as `2.5s`."""
    match body:
        case dict():
            if isinstance(delay := body.get("retryDelay"), str):
                yield delay
            for value in body.values():
                yield from _delays(value)
        case list():
            for value in body:
                yield from _delays(value)


def _duration(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
