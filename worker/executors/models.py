"""From a model string to the prompt driver of one run."""

import importlib
from typing import Final, Protocol, cast

from griptape.drivers.prompt import BasePromptDriver

from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.connections import ModelConnections
from worker.executors.model_driver import ModelDriver
from worker.executors.parameters import honour
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
    return ModelDriver(
        provider_driver=provider_driver,
        full_model=context.model,
        token=context.token,
        attempts=max(1, int(context.options.get("model_attempts", DEFAULT_ATTEMPTS))),
        silence=silence_limit(context),
        ignored_params=honour(context.llm_params, provider_driver, provider),
    )
