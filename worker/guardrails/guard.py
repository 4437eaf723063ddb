"""One side of a run's guardrails: refuses a text for what is found in it, or masks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from shared.guardrails import DEFAULT_THRESHOLD, installed
from worker.executors.base import InvalidConfigurationError
from worker.guardrails.base import Detector, Finding


class Direction(StrEnum):
    """Where a guard stands."""

    INPUT = "input"
    OUTPUT = "output"


class GuardrailError(Exception):
    """A text may not pass, for what was found in it or because nobody could tell; it never quotes it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One detector, and what is done with what it finds."""

    guardrail: str
    detect: Detector
    threshold: float
    masks: bool

    def find(self, text: str) -> list[Finding]:
        """What is in a text; a score that is no number is as good as any.

        Raises:
            GuardrailError: the detector failed.
        """
        try:
            return [finding for finding in self.detect(text) if not finding.score < self.threshold]
        except Exception as error:  # noqa: BLE001  # somebody else's code; what it says may quote the text
            reason = type(error).__name__
        raise GuardrailError(f"The detector of the guardrail {self.guardrail!r} failed: {reason}.")


class Guard:
    """What a run's guardrails look at on one side."""

    def __init__(self, direction: Direction, watches: Sequence[Watch]) -> None:
        self.direction = direction
        self._watches = watches
        self._masked: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._watches)

    @property
    def masked(self) -> dict[str, list[str]]:
        """The kinds of what was masked so far, by guardrail."""
        return {guardrail: sorted(kinds) for guardrail, kinds in self._masked.items()}

    def screen(self, text: str) -> str:
        """Return a text as it may pass.

        Raises:
            GuardrailError: it may not, and the guardrail does not mask.
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
    """Put the kind, in brackets, in the place of each finding; of those that overlap, of the first."""
    parts, done = [], 0
    for finding in sorted(findings, key=lambda one: (one.start, -one.end)):
        if finding.start >= done:
            parts += [text[done : finding.start], f"[{finding.kind}]"]
        done = max(done, finding.end)
    return "".join([*parts, text[done:]])


def make_guard(guardrails: Mapping[str, Any], direction: Direction) -> Guard:
    """Make the guard that a run's guardrails (contract: watsonx §2.3) ask for on one side.

    Raises:
        InvalidConfigurationError: an enabled one has no detector here, or it cannot be loaded.
    """
    watches = []
    for guardrail, options in guardrails.items():
        here = (options or {}).get(direction) or {}
        if here.get("enabled"):
            masks = bool((options.get("mask") or {}).get("remove_entity_value"))
            threshold = float(here.get("threshold", DEFAULT_THRESHOLD))
            watches.append(Watch(guardrail, _load(guardrail), threshold, masks))
    return Guard(direction, watches)


def _load(guardrail: str) -> Detector:
    point = installed().get(guardrail)
    if point is None:
        raise InvalidConfigurationError(
            f"This worker has no detector for the guardrail {guardrail!r}: the run would go unguarded."
        )
    try:
        return cast("Detector", point.load())
    except (ImportError, AttributeError) as error:
        message = f"The detector {guardrail!r} ({point.value}) cannot be loaded: {error}."
        raise InvalidConfigurationError(message) from error
