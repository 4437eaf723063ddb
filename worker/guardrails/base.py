"""The protocol of detectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in a text: the characters from `start` up to `end`, of a `kind` such as `EMAIL_ADDRESS`.

    `score` is the detector's confidence, from 0 to 1; a finding below the run's threshold does not count.
    """

    start: int
    end: int
    kind: str
    score: float


Detector = Callable[[str], Sequence[Finding]]
"""Finds what it looks for in a text, called from many threads at once. Any exception fails the run."""
