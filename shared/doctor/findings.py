"""What a diagnosis consists of."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad something is."""

    OK = "ok"
    WARNING = "warning"  # it works, or could not be told; somebody should look
    PROBLEM = "problem"  # something does not work, or no longer will


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    severity: Severity
    seen: str
    advice: str = ""  # what to do; empty if all is well


def first_line(error: Exception) -> str:
    """What an error says, without the statement and the hints that may follow."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
