"""A detector of what tells who somebody is: addresses and numbers that can be checked, no names.

Needs the extra `pii`. What a number is, libraries say: phonenumbers, and python-stdnum with its checksums.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

from worker.guardrails.base import Finding

HOME_REGION: Final = "US"
"""The region of telephone numbers without a country's code."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of number or address: what it looks like, what else must hold, and how sure that makes it."""

    name: str
    pattern: re.Pattern[str]
    score: float
    is_valid: Callable[[str], bool] = bool


def _is_card(text: str) -> bool:
    return luhn.is_valid(re.sub(r"\D", "", text))


def _is_ip(text: str) -> bool:
    return all(int(part) <= 255 for part in text.split("."))  # noqa: PLR2004  # a byte


_KINDS: Final = (
    _Kind(
        "EMAIL_ADDRESS",
        re.compile(r"\b[\w.%+-]{1,64}@(?:[a-z0-9-]{1,63}\.)+[a-z]{2,24}\b", re.IGNORECASE),
        1.0,
    ),
    _Kind("CREDIT_CARD", re.compile(r"\b[3-6]\d{3}(?:[ -]?\d){8,15}\b"), 0.9, _is_card),
    _Kind("US_SSN", re.compile(r"\b\d{3}-\d{2}-\d{4}\b"), 0.8, ssn.is_valid),
    _Kind("IP_ADDRESS", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)"), 0.6, _is_ip),
)

_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")


def detect(text: str) -> list[Finding]:
    """Find e-mail and IP addresses, telephone, card and social security numbers, and IBANs."""
    return [*_of_kinds(text), *_ibans(text), *_telephones(text)]


def _of_kinds(text: str) -> Iterator[Finding]:
    for kind in _KINDS:
        for match in kind.pattern.finditer(text):
            if kind.is_valid(match[0]):
                yield Finding(match.start(), match.end(), kind.name, kind.score)


def _ibans(text: str) -> Iterator[Finding]:
    """IBANs, whose length is their country's: what follows in capitals may look like more of one."""
    for match in _IBAN.finditer(text):
        for end in range(len(match[0]), 14, -1):  # 15 characters: the shortest there is
            if not match[0][end - 1].isspace() and iban.is_valid(match[0][:end]):
                yield Finding(match.start(), match.start() + end, "IBAN", 1.0)
                break


def _telephones(text: str) -> Iterator[Finding]:
    for match in phonenumbers.PhoneNumberMatcher(text, HOME_REGION):
        score = 0.9 if match.raw_string.startswith("+") else 0.6
        yield Finding(match.start, match.end, "PHONE_NUMBER", score)
