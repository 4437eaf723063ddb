"""Findings of a diagnosis."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"  # it works, or is unknown; a person should check
    PROBLEM = "problem"  # it does not work, or soon will not


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    severity: Severity
    seen: str
    advice: str = ""  # empty if nothing needs to be done


def first_line(error: Exception) -> str:
    """The first line of an error, without statement and hints."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
