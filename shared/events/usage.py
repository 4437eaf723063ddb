"""Token usage: the sum of a run's model calls, by model, from its `FinishPromptEvent`s."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST_TOKENS: Final = 1_000_000_000_000
"""Tokens of one model call; a larger number is taken for this one."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of model calls."""

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.model_calls + other.model_calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


class UsageSum:
    """Adds up model calls, by the names that the providers have for their models."""

    def __init__(self) -> None:
        self._by_model: dict[str, Usage] = {}

    @property
    def by_model(self) -> Mapping[str, Usage]:
        """The usage of each model, in the order of their first calls."""
        return self._by_model

    @property
    def total(self) -> Usage:
        """The usage of all models."""
        return sum(self._by_model.values(), Usage())

    def count(self, payload: Mapping[str, Any]) -> None:
        """Add the model call that a `FinishPromptEvent` reports."""
        tokens = (tokens_of(payload.get(f"{side}_token_count")) for side in ("input", "output"))
        self.add(str(payload.get("model")), Usage(1, *tokens))

    def add(self, model: str, usage: Usage) -> None:
        """Add usage of a model."""
        self._by_model[model] = self._by_model.get(model, Usage()) + usage


def tokens_of(count: Any) -> int:
    """Return a number of tokens that somebody reports, within bounds; 0 if it is no number."""
    if not isinstance(count, int | float) or (isinstance(count, float) and math.isnan(count)):
        return 0
    return int(min(max(count, 0), MOST_TOKENS))
