"""What a run has used of its models."""

from shared.models import JsonObject
from worker.executors.base import ExecutorEvent


class UsageMeter:
    """Adds up the tokens that the framework reports after each model call."""

    def __init__(self) -> None:
        self._input_tokens = 0
        self._output_tokens = 0
        self._model_calls = 0

    def count(self, event: ExecutorEvent) -> None:
        if event.type == "FinishPromptEvent":
            self._input_tokens += int(event.payload.get("input_token_count") or 0)
            self._output_tokens += int(event.payload.get("output_token_count") or 0)
            self._model_calls += 1

    def total(self) -> JsonObject | None:
        """Tokens in, out and together, and model calls; None before the first call has ended."""
        if not self._model_calls:
            return None
        return {
            "input_tokens": self._input_tokens,
            "output_tokens": self._output_tokens,
            "total_tokens": self._input_tokens + self._output_tokens,
            "model_calls": self._model_calls,
        }
