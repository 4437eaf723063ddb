"""What a run has used of its models."""

from shared.models import JsonObject
from worker.executors.base import ExecutorEvent


class UsageMeter:
    """Adds up the tokens that the framework reports after each model call."""

    def __init__(self) -> None:
        self._model_calls = 0
        self._by_model: dict[str, dict[str, int]] = {}

    def count(self, event: ExecutorEvent) -> None:
        if event.type == "FinishPromptEvent":
            self._model_calls += 1
            name = str(event.payload.get("model"))
            model = self._by_model.setdefault(name, {"input_tokens": 0, "output_tokens": 0})
            model["input_tokens"] += int(event.payload.get("input_token_count") or 0)
            model["output_tokens"] += int(event.payload.get("output_token_count") or 0)

    def total(self) -> JsonObject | None:
        """Tokens in, out and together, also by model, and model calls; None before the first has ended."""
        if not self._model_calls:
            return None
        asked = sum(model["input_tokens"] for model in self._by_model.values())
        answered = sum(model["output_tokens"] for model in self._by_model.values())
        return {
            "input_tokens": asked,
            "output_tokens": answered,
            "total_tokens": asked + answered,
            "model_calls": self._model_calls,
            "models": {name: dict(tokens) for name, tokens in self._by_model.items()},
        }
