"""The prompt driver of a run, made from its model string."""

import importlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol, cast

from shared.extensions import FRAMEWORK_PROVIDERS
from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.griptape.connections import ModelConnections
from worker.executors.griptape.credentials import require_all
from worker.executors.griptape.model_driver import ModelDriver
from worker.executors.griptape.model_errors import without_address
from worker.executors.griptape.parameters import Request, honour
from worker.executors.griptape.providers.setup import Provider, Setup
from worker.executors.griptape.tokenizer import estimating_tokenizer

DEFAULT_PATIENCE: Final = 300.0  # seconds for which a model that is busy is asked again
DEFAULT_SILENCE: Final = 600.0
"""Seconds without a byte until a provider is given up: models that think first, and local ones that are
loaded first, are silent for minutes."""

_loading: Final = threading.RLock()


class ProviderModule(Protocol):
    """A module of `worker.executors.griptape.providers`."""

    def build(self, setup: Setup) -> Provider:
        """Make the provider of a model; all its connections are registered with the run's.

        Raises:
            InvalidConfigurationError: the environment lacks a variable of the provider.
        """
        ...

    def warm_up(self) -> None:
        """Import everything that the provider's library imports at its first use."""
        ...


def load_provider(provider: str) -> ProviderModule:
    """Import the module of a provider.

    One at a time: the libraries share modules, and a thread that meets a module half imported fails.

    Raises:
        InvalidConfigurationError: its package is not installed, or cannot be loaded.
    """
    name = f"worker.executors.griptape.providers.{provider.replace('-', '_')}"
    with _loading, _told_of(provider):
        return cast("ProviderModule", importlib.import_module(name))


def load_usable_provider(provider: str) -> None:
    """Import the module of a provider, and everything that its library imports at its first use.

    Raises:
        InvalidConfigurationError: a variable or a package is missing, or a package cannot be loaded.
    """
    require_all(provider)
    module = load_provider(provider)
    with _told_of(provider):
        module.warm_up()


def unusable_providers() -> list[str]:
    """Return a sentence for each provider whose variables are set and whose library cannot be loaded."""
    found = []
    for provider in sorted(FRAMEWORK_PROVIDERS):
        try:
            require_all(provider)
        except InvalidConfigurationError:
            continue  # nobody wants it here
        try:
            load_usable_provider(provider)
        except InvalidConfigurationError as error:
            found.append(str(error))
    return found


@contextmanager
def _told_of(provider: str) -> Generator[None]:
    """Tell of whatever a provider's library raises as it is loaded: the others are served all the same."""
    try:
        yield
    except ImportError as error:
        message = f"The worker lacks a package that {provider} needs: {error.name or error}."
        raise InvalidConfigurationError(message) from error
    except Exception as error:
        message = f"A package that {provider} needs cannot be loaded: {str(error) or type(error).__name__}."
        raise InvalidConfigurationError(message) from error


def silence_limit(context: RunContext) -> float:
    """Return the seconds without a byte after which a call fails: `model_silence_seconds`."""
    return min(
        float(context.options.get("model_silence_seconds", DEFAULT_SILENCE)),
        context.max_duration.total_seconds(),
    )


def patience(context: RunContext) -> float:
    """Return the seconds for which a busy model is asked again: `model_patience_seconds`."""
    return min(
        float(context.options.get("model_patience_seconds", DEFAULT_PATIENCE)),
        context.max_duration.total_seconds(),
    )


def build_driver(context: RunContext, connections: ModelConnections) -> ModelDriver:
    """Make the driver that a run's agent uses.

    Raises:
        InvalidConfigurationError: the worker's environment does not suffice for the provider.
    """
    name, _, model = context.model.partition("/")
    require_all(name)
    module = load_provider(name)
    try:
        provider = module.build(Setup(name, model, context, connections))
    except InvalidConfigurationError:
        raise
    except Exception as error:  # nothing is called yet: whatever it is, it is how the worker is set up
        message = f"{context.model} cannot be called: {type(error).__name__}: {without_address(error)}"
        raise InvalidConfigurationError(message) from error
    honoured, ignored = honour(context.llm_params, name, Request(model, provider.parameters))
    attempts = context.options.get("model_attempts")
    return ModelDriver(
        provider=provider,
        full_model=context.model,
        tokenizer=estimating_tokenizer(provider.model, provider.limits),
        token=context.token,
        patience=patience(context),
        attempts=None if attempts is None else max(1, int(attempts)),
        silence=silence_limit(context),
        ignored_params=ignored,
        sampled_params=honoured,
        hang_up=connections.drop,
    )
