"""The detector `pii`: personal addresses and numbers, by their form and checksums; no names.

Needs the extra `pii`: phonenumbers, and python-stdnum with its checksums.
"""

import ipaddress
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

from worker.guardrails.base import Finding

MAX_SECONDS: Final = 10.0
"""Of computing, for one text. All of it is linear, but numbers that might be telephones take their time: a
megabyte made of them half a minute, in which the run could not be stopped."""

HOME_REGION: Final = "US"
"""The region of telephone numbers without a country's code."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of number or address: its form, its check, and its score."""

    name: str
    pattern: re.Pattern[str]
    score: float
    is_valid: Callable[[str], bool] = bool


class TooExpensiveError(Exception):
    """A text takes too long to check."""


_SHORTEST_IP: Final = 7  # characters


def _is_card(text: str) -> bool:
    return luhn.is_valid(re.sub(r"\D", "", text))


def _is_ip(text: str) -> bool:
    """Whether the text is an IP address, and not two colons in a program."""
    if len(text) < _SHORTEST_IP or not any(map(str.isdigit, text)):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_ssn(text: str) -> bool:
    return bool(ssn.is_valid(text.replace(" ", "-")))


_GAP: Final = "[ .\u00a0\u2010-\u2013-]?"
"""What people put between the digits of a number."""

_KINDS: Final = (
    _Kind("EMAIL_ADDRESS", re.compile(r"\b[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![^\W\d_])"), 1.0),
    _Kind("CREDIT_CARD", re.compile(rf"\b[2-6]\d{{3}}(?:{_GAP}\d){{8,15}}\b"), 0.9, _is_card),
    _Kind("US_SSN", re.compile(r"\b\d{3}[- ]\d{2}[- ]\d{4}\b"), 0.8, _is_ssn),
    _Kind("IP_ADDRESS", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)"), 0.6, _is_ip),
    _Kind(
        "IP_ADDRESS",
        re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])"),
        0.6,
        _is_ip,
    ),
)

_IBAN: Final = re.compile(r"\b[a-zA-Z]{2}\d{2}(?:[ -]?[a-zA-Z0-9]){11,30}")
_SHORTEST_IBAN: Final = 15  # characters


def detect(text: str) -> list[Finding]:
    """Find e-mail and IP addresses, telephone, card and US social security numbers, and IBANs.

    Telephone numbers have a country's code, or are of the home region.

    Raises:
        TooExpensiveError: checking the text took longer than `MAX_SECONDS`.
    """
    check = _clock()
    found = []
    for finding in chain(_of_kinds(text), _ibans(text), _telephones(text, check)):
        if isinstance(finding, Finding):
            found.append(finding)
        check()
    return found


def _clock() -> Callable[[], None]:
    """Return a function that raises `TooExpensiveError` once `MAX_SECONDS` of computing are over."""
    end = time.thread_time() + MAX_SECONDS

    def check() -> None:
        if time.thread_time() > end:
            raise TooExpensiveError

    return check


def _of_kinds(text: str) -> Iterator[Finding | None]:
    """Yield the findings, and None for each candidate that is none."""
    for kind in _KINDS:
        for match in kind.pattern.finditer(text):
            is_one = kind.is_valid(match[0])
            yield Finding(match.start(), match.end(), kind.name, kind.score) if is_one else None


def _ibans(text: str) -> Iterator[Finding | None]:
    """Yield IBANs by their country's length: the words after one may look like more of it."""
    for match in _IBAN.finditer(text):
        for end in range(len(match[0]), _SHORTEST_IBAN - 1, -1):
            if match[0][end - 1].isalnum() and iban.is_valid(match[0][:end]):
                yield Finding(match.start(), match.start() + end, "IBAN", 1.0)
                break
        yield None


class _Matcher(phonenumbers.PhoneNumberMatcher):
    """Checks the clock at every candidate: the search for one number may read the whole text."""

    def __init__(self, text: str, check: Callable[[], None]) -> None:
        super().__init__(text, HOME_REGION, max_tries=sys.maxsize)
        self._check = check

    def _extract_match(self, candidate: str, offset: int) -> phonenumbers.PhoneNumberMatch | None:
        self._check()
        return super()._extract_match(candidate, offset)


def _telephones(text: str, check: Callable[[], None]) -> Iterator[Finding]:
    for match in _Matcher(text, check):
        score = 0.9 if match.raw_string.startswith("+") else 0.6
        yield Finding(match.start, match.end, "PHONE_NUMBER", score)
