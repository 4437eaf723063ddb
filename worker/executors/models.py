"""From a model string to the prompt driver of one run."""

import importlib
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from griptape.drivers.prompt import BasePromptDriver

from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.connections import ModelConnections
from worker.executors.model_driver import ModelDriver
from worker.executors.providers.setup import Setup

DEFAULT_ATTEMPTS: Final = 3  # calls of a model before its failure is the run's
DEFAULT_SILENCE: Final = 300.0
"""Seconds without a byte until a provider is given up: models that think first, and local ones that are
loaded first, are silent for minutes."""


class ProviderModule(Protocol):
    """A module of `worker.executors.providers`."""

    def build(self, setup: Setup) -> BasePromptDriver:
        """Make the driver of a model, all of whose connections are known to the run's.

        Raises:
            InvalidConfigurationError: the environment lacks what the provider needs.
        """
        ...


def load_provider(provider: str) -> ProviderModule:
    """Import what calls a provider.

    Raises:
        InvalidConfigurationError: its package is not installed.
    """
    try:
        module = importlib.import_module(f"worker.executors.providers.{provider.replace('-', '_')}")
    except ImportError as error:
        message = f"The worker lacks a package that {provider} needs: {error.name or error}."
        raise InvalidConfigurationError(message) from error
    return cast("ProviderModule", module)


def silence_limit(context: RunContext) -> float:
    """Seconds without a byte after which a provider is given up: `model_silence_seconds`."""
    return min(
        float(context.options.get("model_silence_seconds", DEFAULT_SILENCE)),
        context.max_duration.total_seconds(),
    )


COMMON: Final = frozenset({"temperature", "max_new_tokens"})
"""Parameters that every driver of the framework has a setting for."""

FURTHER: Final[Mapping[str, Mapping[str, str]]] = {
    "openai": {"top_p": "top_p", "random_seed": "seed"},
    "azure-openai": {"top_p": "top_p", "random_seed": "seed"},
    "anthropic": {"top_p": "top_p", "top_k": "top_k"},
    "cohere": {"top_p": "p", "top_k": "k", "random_seed": "seed"},
}
"""What else a provider takes, by the parameter, under the provider's own name for it."""


def unhonoured(llm_params: Mapping[str, Any], provider: str) -> list[str]:
    """The parameters of a run that its model's driver has no setting for."""
    known = frozenset() if provider == "echo" else COMMON | FURTHER.get(provider, {}).keys()
    return sorted(name for name, value in llm_params.items() if value is not None and name not in known)


def honour(llm_params: Mapping[str, Any], driver: BasePromptDriver, provider: str) -> None:
    """Set a driver as a run's parameters demand, as far as it has such a setting."""
    if provider == "echo":
        return
    if llm_params.get("temperature") is not None:
        driver.temperature = llm_params["temperature"]
    if llm_params.get("max_new_tokens"):
        driver.max_tokens = llm_params["max_new_tokens"]
    names = FURTHER.get(provider, {})
    further = {names[name]: llm_params[name] for name in names if llm_params.get(name) is not None}
    driver.extra_params = {**driver.extra_params, **further}


def build_driver(context: RunContext, connections: ModelConnections) -> ModelDriver:
    """Make the driver that a run's agent uses.

    Raises:
        InvalidConfigurationError: its provider cannot be called as the worker is set up.
    """
    provider, _, model = context.model.partition("/")
    module = load_provider(provider)
    try:
        provider_driver = module.build(Setup(provider, model, context, connections))
    except InvalidConfigurationError:
        raise
    except Exception as error:  # nothing is called yet: whatever it is, it is how the worker is set up
        message = f"{context.model} cannot be called: {type(error).__name__}: {error}"
        raise InvalidConfigurationError(message) from error
    honour(context.llm_params, provider_driver, provider)
    return ModelDriver(
        provider_driver=provider_driver,
        full_model=context.model,
        token=context.token,
        attempts=max(1, int(context.options.get("model_attempts", DEFAULT_ATTEMPTS))),
        silence=silence_limit(context),
    )
