"""One side of a run's guardrails: refuses a text for what is found in it, or masks it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, cast

from shared.guardrails import installed
from worker.executors.base import InvalidConfigurationError
from worker.guardrails.base import Detector, Finding

DEFAULT_THRESHOLD: Final = 0.5  # as the contract's (watsonx §2.3)


class Side(StrEnum):
    """Where a guard stands."""

    INPUT = "input"
    OUTPUT = "output"


class GuardrailError(Exception):
    """Something was found that may not pass; the message names its kinds, never the text itself."""

    def __init__(self, guardrail: str, side: Side, kinds: Sequence[str]) -> None:
        super().__init__(f"The guardrail {guardrail!r} found {', '.join(kinds)} in the {side}.")


@dataclass(frozen=True, slots=True)
class Watch:
    """One detector, and what is done with what it finds."""

    guardrail: str
    detect: Detector
    threshold: float
    masks: bool

    def find(self, text: str) -> list[Finding]:
        return [finding for finding in self.detect(text) if finding.score >= self.threshold]


class Guard:
    """What a run's guardrails look at on one side."""

    def __init__(self, side: Side, watches: Sequence[Watch]) -> None:
        self.side = side
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
                raise GuardrailError(watch.guardrail, self.side, kinds)
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


def make_guard(guardrails: Mapping[str, Any], side: Side) -> Guard:
    """Make the guard that a run's guardrails (contract: watsonx §2.3) ask for on one side.

    Raises:
        InvalidConfigurationError: an enabled one has no detector here, or it cannot be loaded.
    """
    watches = []
    for guardrail, options in guardrails.items():
        here = (options or {}).get(side) or {}
        if here.get("enabled"):
            masks = bool((options.get("mask") or {}).get("remove_entity_value"))
            threshold = float(here.get("threshold", DEFAULT_THRESHOLD))
            watches.append(Watch(guardrail, _load(guardrail), threshold, masks))
    return Guard(side, watches)


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
