"""A guard: one side of a run's guardrails. It blocks a text for its findings, or masks them."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.extensions import DEFAULT_THRESHOLD, installed_guardrails
from worker.cancellation import is_stop
from worker.executors import extensions
from worker.executors.base import InvalidConfigurationError
from worker.guardrails.base import Detector, Finding


class Direction(StrEnum):
    """The side that a guard checks."""

    INPUT = "input"
    OUTPUT = "output"


class GuardrailError(Exception):
    """A text is blocked, for a finding or because a detector failed. The message never quotes the text."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One detector, its threshold, and whether its findings are masked."""

    guardrail: str
    detect: Detector
    threshold: float
    masks: bool

    def find(self, text: str) -> list[Finding]:
        """Return the findings in a text that reach the threshold; a score that is NaN does.

        Raises:
            GuardrailError: the detector failed.
        """
        try:
            found = [finding for finding in self.detect(text) if not finding.score < self.threshold]
            for finding in found:
                self._check(finding, text)
        except BaseException as error:  # somebody else's code; what it says may quote the text
            if is_stop(error):
                raise
            reason = type(error).__name__
        else:
            return found
        raise GuardrailError(f"The detector of the guardrail {self.guardrail!r} failed: {reason}.")

    def _check(self, finding: Finding, text: str) -> None:
        """Check that a finding is one.

        Raises:
            TypeError: its kind or its place is none.
            ValueError: it is to be masked, and is nowhere in the text.
        """
        if not isinstance(finding.kind, str):
            raise TypeError
        if self.masks and not 0 <= operator.index(finding.start) < operator.index(finding.end) <= len(text):
            raise ValueError


class Guard:
    """The guardrails of a run on one side."""

    def __init__(self, direction: Direction, watches: Sequence[Watch]) -> None:
        self.direction = direction
        self._watches = watches
        self._masked: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._watches)

    @property
    def masked(self) -> dict[str, list[str]]:
        """The kinds of findings masked so far, by guardrail."""
        return {guardrail: sorted(kinds) for guardrail, kinds in self._masked.items()}

    def screen(self, text: str) -> str:
        """Return a text with its findings masked.

        Raises:
            GuardrailError: a guardrail that does not mask found something.
        """
        for watch in self._watches:
            findings = watch.find(text)
            if not findings:
                continue
            kinds = sorted({finding.kind for finding in findings})
            if not watch.masks:
                found = ", ".join(kinds)
                raise GuardrailError(
                    f"The guardrail {watch.guardrail!r} found {found} in the {self.direction}."
                )
            self._masked.setdefault(watch.guardrail, set()).update(kinds)
            text = mask(text, findings)
        return text


def mask(text: str, findings: Sequence[Finding]) -> str:
    """Replace each finding by its kind in brackets; of findings that overlap, the first one."""
    parts, done = [], 0
    for finding in sorted(findings, key=lambda one: (one.start, -one.end)):
        if finding.start >= done:
            parts += [text[done : finding.start], f"[{finding.kind}]"]
        done = max(done, finding.end)
    return "".join([*parts, text[done:]])


def make_guard(guardrails: Mapping[str, Any], direction: Direction) -> Guard:
    """Make the guard for one side of a run's guardrails.

    Raises:
        InvalidConfigurationError: an enabled guardrail has no detector here, or it cannot be loaded.
    """
    watches = []
    for guardrail, options in guardrails.items():
        here = (options or {}).get(direction) or {}
        if not here.get("enabled"):
            continue
        point = installed_guardrails().get(guardrail)
        if point is None:
            raise InvalidConfigurationError(
                f"This worker has no detector for the guardrail {guardrail!r}: the run would go unguarded."
            )
        detector: Detector = extensions.load(point, kind="detector")
        masks = bool((options.get("mask") or {}).get("remove_entity_value"))
        threshold = float(here.get("threshold", DEFAULT_THRESHOLD))
        watches.append(Watch(guardrail, detector, threshold, masks))
    return Guard(direction, watches)
