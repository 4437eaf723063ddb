"""Tokens, as this dialect counts them (contract: watsonx §2.4): on a run and at the end of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    models = {name: _tokens(counts) for name, counts in run.usage.get("models", {}).items()}
    return shown_usage(run, _tokens(run.usage), models, given_up=_tokens(run.usage.get("given_up", {})))


def shown_usage(
    run: Run, together: Tokens, by_model: Mapping[str, Tokens], *, given_up: Tokens
) -> JsonObject:
    """The tokens of a run's model calls, also by the name that each model's provider has for it.

    The provider is known of runs that name their model, themselves or by their assistant.

    Args:
        given_up: what attempts before the one that ended the run had spent; told if there is any.
    """
    provider, slash, _ = (run.model or "").partition("/")
    has_given_up = given_up.prompt or given_up.completion
    return {
        **({"given_up": {"token_usage": given_up.shown()}} if has_given_up else {}),
        "token_usage": together.shown(),
        "model_usage": [
            {"model_name": name, "provider": provider if slash else None, "token_usage": tokens.shown()}
            for name, tokens in by_model.items()
        ],
    }


def total(by_model: Mapping[str, Tokens]) -> Tokens:
    """The tokens of all models together."""
    tokens = by_model.values()
    return Tokens(sum(one.prompt for one in tokens), sum(one.completion for one in tokens))


def _tokens(counts: Mapping[str, Any]) -> Tokens:
    return Tokens(counts.get("input_tokens") or 0, counts.get("output_tokens") or 0)
