"""The usage of a run: the tokens of its model calls."""

from collections.abc import Iterable

from shared.events.usage import Usage, UsageSum
from shared.lifecycle import EventType
from shared.models import JsonObject
from worker.executors.base import ExecutorEvent


class UsageMeter:
    """Adds up the tokens of an attempt's model calls, and apart from them those of the attempts before it."""

    def __init__(self) -> None:
        self._calls = UsageSum()
        self._given_up = UsageSum()

    def add_given_up(self, spent: Iterable[tuple[str, Usage]]) -> None:
        """Add the usage of earlier attempts, by model, as the log has it."""
        for model, usage in spent:
            self._given_up.add(model, usage)

    def count(self, event: ExecutorEvent) -> None:
        """Count the model call that an event reports, if it reports one."""
        if event.type == EventType.FINISH_PROMPT:
            self._calls.count(event.payload)

    def total(self) -> JsonObject | None:
        """Return the tokens in, out and together, also by model, and the model calls; None without any.

        `given_up` holds the same of the attempts before this one, if they called a model.
        """
        if not self._calls.by_model and not self._given_up.by_model:
            return None
        given_up = {"given_up": _shown(self._given_up)} if self._given_up.by_model else {}
        return {**_shown(self._calls), **given_up}


def _shown(calls: UsageSum) -> JsonObject:
    total = calls.total
    return {
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "total_tokens": total.input_tokens + total.output_tokens,
        "model_calls": total.model_calls,
        "models": {
            model: {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
            for model, usage in calls.by_model.items()
        },
    }
