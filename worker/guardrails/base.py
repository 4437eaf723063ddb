"""What a detector is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in a text: the characters from `start` up to `end`, of a `kind` such as `EMAIL_ADDRESS`.

    `score` says how sure the detector is, from 0 to 1; a run's threshold is held against it.
    """

    start: int
    end: int
    kind: str
    score: float


Detector = Callable[[str], Sequence[Finding]]
"""Looks at a text, from many threads at once. Whatever it raises fails the run: nothing goes unguarded."""
