"""What a run has used of its models."""

from collections.abc import Iterable

from shared.events.earlier import Spent
from shared.models import FINISH_PROMPT, JsonObject
from worker.executors.base import ExecutorEvent


class UsageMeter:
    """Adds up the tokens that the framework reports after each model call.

    The counts of a run are those of the attempt that ended it, on the way to its answer; what attempts
    that were given up had spent is told beside them.
    """

    def __init__(self) -> None:
        self._model_calls = 0
        self._by_model: dict[str, dict[str, int]] = {}
        self._given_up: JsonObject = {}

    def add_given_up(self, spent: Iterable[Spent]) -> None:
        """Take in what earlier attempts have spent, as far as the log knows."""
        meter = UsageMeter()
        for one in spent:
            meter._add(one)
        total = meter.total()
        self._given_up = {} if total is None else {"given_up": total}

    def count(self, event: ExecutorEvent) -> None:
        if event.type == FINISH_PROMPT:
            payload = event.payload
            asked, answered = payload.get("input_token_count"), payload.get("output_token_count")
            self._add(Spent(str(payload.get("model")), 1, int(asked or 0), int(answered or 0)))

    def total(self) -> JsonObject | None:
        """Tokens in, out and together, also by model, and model calls; None before the first has ended.

        Under `given_up`, the same of the attempts before this one, if there were model calls in them.
        """
        if not self._model_calls and not self._given_up:
            return None
        asked = sum(model["input_tokens"] for model in self._by_model.values())
        answered = sum(model["output_tokens"] for model in self._by_model.values())
        return {
            "input_tokens": asked,
            "output_tokens": answered,
            "total_tokens": asked + answered,
            "model_calls": self._model_calls,
            "models": {name: dict(tokens) for name, tokens in self._by_model.items()},
            **self._given_up,
        }

    def _add(self, spent: Spent) -> None:
        self._model_calls += spent.calls
        model = self._by_model.setdefault(spent.model, {"input_tokens": 0, "output_tokens": 0})
        model["input_tokens"] += spent.input_tokens
        model["output_tokens"] += spent.output_tokens
