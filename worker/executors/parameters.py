"""What a run's `llm_params` (contract: watsonx §2.2) set in the drivers of the framework."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Take = Callable[[Any, Any], bool]
"""Sets a driver as a value demands; False if this driver, or its model, cannot honour it."""


def honour(llm_params: Mapping[str, Any], driver: Any, provider: str) -> list[str]:
    """Set a driver as a run's parameters demand; return the names of those that it cannot honour."""
    given = {name: value for name, value in llm_params.items() if value is not None}
    takes = SETTINGS.get(provider, {})
    honoured = {name for name, take in takes.items() if name in given and take(driver, given[name])}
    return sorted(given.keys() - honoured)


def _always(_driver: Any) -> bool:
    return True


def _if(feature: str) -> Callable[[Any], bool]:
    """Whether the framework says that a driver's model supports something."""
    return lambda driver: bool(getattr(driver, f"supports_{feature}"))


def _attribute(name: str, *, only: Callable[[Any], bool] = _always) -> Take:
    def take(driver: Any, value: Any) -> bool:
        if not only(driver):
            return False
        setattr(driver, name, value)
        return True

    return take


def _extra(name: str, *, only: Callable[[Any], bool] = _always) -> Take:
    """A parameter that the framework hands on to the provider as it is."""

    def take(driver: Any, value: Any) -> bool:
        if not only(driver):
            return False
        driver.extra_params = {**driver.extra_params, name: value}
        return True

    return take


def _option(name: str) -> Take:
    """One of Ollama's own options, which the framework makes once, when it makes the driver."""

    def take(driver: Any, value: Any) -> bool:
        driver.options = {**driver.options, name: value}
        return True

    return take


def _positive(take: Take) -> Take:
    """Providers refuse a limit of nothing."""
    return lambda driver, value: value > 0 and take(driver, value)


def _at_most(count: int, take: Take) -> Take:
    """Providers refuse more stop sequences than they are made for."""
    return lambda driver, value: len(value) <= count and take(driver, value)


def _openai_tokens(driver: Any, value: int) -> bool:
    """The limit, under the name that reasoning models take it by."""
    is_reasoning = not driver.supports_temperature
    take = _extra("max_completion_tokens") if is_reasoning else _attribute("max_tokens")
    return take(driver, value)


_OPENAI: Final[Mapping[str, Take]] = {
    "temperature": _attribute("temperature", only=_if("temperature")),
    "max_new_tokens": _positive(_openai_tokens),
    "top_p": _extra("top_p", only=_if("temperature")),
    "random_seed": _attribute("seed"),
    "stop_sequences": _at_most(4, _extra("stop", only=_if("stop_sequences"))),
}

SETTINGS: Final[Mapping[str, Mapping[str, Take]]] = {
    "openai": _OPENAI,
    "azure-openai": _OPENAI,
    "anthropic": {
        "max_new_tokens": _positive(_attribute("max_tokens")),
        "top_p": _attribute("top_p", only=_if("top_p")),
        # The framework sends one of the two, as newer models demand.
        "temperature": _attribute(
            "temperature", only=lambda driver: driver.supports_temperature and driver.top_p is None
        ),
        "top_k": _attribute("top_k", only=_if("top_k")),
        "stop_sequences": _extra("stop_sequences"),
    },
    "google": {
        "temperature": _attribute("temperature"),
        "max_new_tokens": _positive(_attribute("max_tokens")),
        "top_p": _attribute("top_p"),
        "top_k": _attribute("top_k"),
        "random_seed": _extra("seed"),
    },
    "cohere": {
        "temperature": _attribute("temperature"),
        "max_new_tokens": _positive(_attribute("max_tokens")),
        "top_p": _extra("p"),
        "top_k": _extra("k"),
        "random_seed": _extra("seed"),
        "stop_sequences": _at_most(5, _extra("stop_sequences")),
    },
    "ollama": {
        "temperature": _option("temperature"),
        "max_new_tokens": _positive(_option("num_predict")),
        "top_p": _option("top_p"),
        "top_k": _option("top_k"),
        "typical_p": _option("typical_p"),
        "repetition_penalty": _option("repeat_penalty"),
        "random_seed": _option("seed"),
        "stop_sequences": _option("stop"),
    },
    "amazon-bedrock": {
        "temperature": _attribute("temperature", only=_if("temperature")),
        "max_new_tokens": _positive(_attribute("max_tokens")),
    },
}
"""How each provider's driver takes a parameter, in the order in which they are set; what is not here it
has no setting for."""
