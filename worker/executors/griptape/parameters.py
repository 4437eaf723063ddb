"""A run's `llm_params` under each provider's own names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from griptape.utils.anthropic_utils import supports_sampling_params


@dataclass(frozen=True, slots=True)
class Request:
    """The parameters of a request so far."""

    model: str
    parameters: dict[str, Any]


Take = Callable[[Request, Any], str | None]
"""Sets a parameter; returns the name it has at the provider, None if this model cannot honour it."""


def honour(
    llm_params: Mapping[str, Any], provider: str, request: Request
) -> tuple[dict[str, str], list[str]]:
    """Set a run's parameters on a request.

    Returns:
        The names of the honoured parameters, by the provider's names; and the names of the rest.
    """
    given = {name: value for name, value in llm_params.items() if value is not None}
    honoured: dict[str, str] = {}
    for name, take in SETTINGS.get(provider, {}).items():
        if name in given and (its_name := take(request, given[name])):
            honoured[its_name] = name
    return honoured, sorted(given.keys() - set(honoured.values()))


def _as(its_name: str) -> Take:
    def take(request: Request, value: Any) -> str:
        request.parameters[its_name] = value
        return its_name

    return take


def _only(condition: Callable[[Request], bool], take: Take) -> Take:
    return lambda request, value: take(request, value) if condition(request) else None


def _positive(take: Take) -> Take:
    """Providers refuse a limit of nothing."""
    return lambda request, value: take(request, value) if value > 0 else None


def _at_most(count: int, take: Take) -> Take:
    """Providers refuse more stop sequences than they are made for."""
    return lambda request, value: take(request, value) if len(value) <= count else None


def _reasons(request: Request) -> bool:
    from worker.executors.griptape.providers.openai import reasons  # noqa: PLC0415  # its library may be missing

    return reasons(request.model)


def _samples(request: Request) -> bool:
    return not _reasons(request)


def _openai_tokens(request: Request, value: int) -> str | None:
    """The limit, under the name that reasoning models accept."""
    return _as("max_completion_tokens" if _reasons(request) else "max_tokens")(request, value)


def _claude_samples(request: Request) -> bool:
    return supports_sampling_params(request.model)


def _claude_has_no_top_p(request: Request) -> bool:
    """Newer models demand that only one of the two is set."""
    return _claude_samples(request) and "top_p" not in request.parameters


_OPENAI: Final[Mapping[str, Take]] = {
    "temperature": _only(_samples, _as("temperature")),
    "max_new_tokens": _positive(_openai_tokens),
    "top_p": _only(_samples, _as("top_p")),
    "random_seed": _as("seed"),
    "stop_sequences": _at_most(4, _only(_samples, _as("stop"))),
}

SETTINGS: Final[Mapping[str, Mapping[str, Take]]] = {
    "openai": _OPENAI,
    "azure-openai": _OPENAI,
    "anthropic": {
        "max_new_tokens": _positive(_as("max_tokens")),
        "top_p": _only(_claude_samples, _as("top_p")),
        "temperature": _only(_claude_has_no_top_p, _as("temperature")),
        "top_k": _only(_claude_samples, _as("top_k")),
        "stop_sequences": _as("stop_sequences"),
    },
    "google": {
        "temperature": _as("temperature"),
        "max_new_tokens": _positive(_as("maxOutputTokens")),
        "top_p": _as("topP"),
        "top_k": _as("topK"),
        "random_seed": _as("seed"),
    },
    "cohere": {
        "temperature": _as("temperature"),
        "max_new_tokens": _positive(_as("max_tokens")),
        "top_p": _as("p"),
        "top_k": _as("k"),
        "random_seed": _as("seed"),
        "stop_sequences": _at_most(5, _as("stop_sequences")),
    },
    "ollama": {
        "temperature": _as("temperature"),
        "max_new_tokens": _positive(_as("num_predict")),
        "top_p": _as("top_p"),
        "top_k": _as("top_k"),
        "typical_p": _as("typical_p"),
        "repetition_penalty": _as("repeat_penalty"),
        "random_seed": _as("seed"),
        "stop_sequences": _as("stop"),
    },
    "amazon-bedrock": {
        "temperature": _only(_claude_samples, _as("temperature")),
        "max_new_tokens": _positive(_as("maxTokens")),
    },
}
"""What each provider calls a parameter, in the order in which they are set; what is not here it has no
setting for."""
