"""Token usage in this dialect: on a run and at the end of its answer."""

from collections.abc import Mapping
from typing import Any

from shared.events.usage import Usage
from shared.models import JsonObject, Run


def usage_of(run: Run) -> JsonObject | None:
    """Return the usage of a run; None before its first model call has ended."""
    if run.usage is None:
        return None
    models = {name: _stored(counts) for name, counts in run.usage.get("models", {}).items()}
    return shown_usage(run, _stored(run.usage), models, given_up=_stored(run.usage.get("given_up", {})))


def shown_usage(run: Run, total: Usage, by_model: Mapping[str, Usage], *, given_up: Usage) -> JsonObject:
    """Return the tokens of a run's model calls, also by the name that each model's provider has for it.

    The provider is known of runs whose model is named, by themselves or by their assistant.

    Args:
        given_up: the usage of the attempts before the one that ended the run; shown if there is any.
    """
    provider, slash, _ = (run.model or "").partition("/")
    has_given_up = given_up.input_tokens or given_up.output_tokens
    return {
        **({"given_up": {"token_usage": _shown(given_up)}} if has_given_up else {}),
        "token_usage": _shown(total),
        "model_usage": [
            {"model_name": name, "provider": provider if slash else None, "token_usage": _shown(usage)}
            for name, usage in by_model.items()
        ],
    }


def _shown(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _stored(counts: Mapping[str, Any]) -> Usage:
    return Usage(0, counts.get("input_tokens") or 0, counts.get("output_tokens") or 0)
