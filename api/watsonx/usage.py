"""Tokens, as this dialect counts them (contract: watsonx §2.4): on a run and at the end of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.models import JsonObject, Run


@dataclass(slots=True)
class Tokens:
    """What was asked and what was answered, in tokens."""

    prompt: int = 0
    completion: int = 0

    def shown(self) -> JsonObject:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


def usage_of(run: Run) -> JsonObject | None:
    """What a run has used of its models; None before its first answer."""
    if run.usage is None:
        return None
    tokens = Tokens(run.usage.get("input_tokens") or 0, run.usage.get("output_tokens") or 0)
    return shown_usage(run, {"": tokens})


def shown_usage(run: Run, by_model: Mapping[str, Tokens]) -> JsonObject:
    """The tokens of a run's model calls, by the name its provider has for the model, if it is known."""
    provider, _, model = (run.model or "").partition("/")
    together = Tokens(
        sum(tokens.prompt for tokens in by_model.values()),
        sum(tokens.completion for tokens in by_model.values()),
    )
    return {
        "token_usage": together.shown(),
        "model_usage": [
            {"model_name": name or model or None, "provider": provider or None, "token_usage": tokens.shown()}
            for name, tokens in by_model.items()
        ],
    }
