"""Which executor a model string asks for."""

import importlib
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from shared.providers import ECHO, FRAMEWORK_PROVIDERS, GROUP
from worker.executors.base import Executor, InvalidConfigurationError


def resolve(model: str) -> Executor:
    """The executor of `provider/model`.

    Raises:
        InvalidConfigurationError: there is none, or it cannot be loaded.
    """
    provider, _, name = model.partition("/")
    if provider in FRAMEWORK_PROVIDERS:
        if not name and provider != ECHO:
            raise InvalidConfigurationError(f"{model!r} names a provider and no model: {provider}/<model>.")
        return _framework()
    found = {point.name: point for point in entry_points(group=GROUP)}
    if provider in found:
        return _load(found[provider])
    known = ", ".join(sorted(FRAMEWORK_PROVIDERS | found.keys()))
    raise InvalidConfigurationError(
        f"There is no provider {provider!r}; a model is <provider>/<model>, and the providers are {known}."
    )


def warm_up(model: str = ECHO) -> None:
    """Import now what the first run would wait for: the framework, and the library of a model's provider.

    What the model lacks is left for its runs to say.
    """
    _framework()
    provider = model.partition("/")[0]
    if provider in FRAMEWORK_PROVIDERS:
        models = importlib.import_module("worker.executors.models")
        with suppress(InvalidConfigurationError):
            models.load_provider(provider)


@cache
def _framework() -> Executor:
    """The griptape executor; importing the framework takes a second, and is done once."""
    module = importlib.import_module("worker.executors.griptape")
    module.quieten()
    return cast("Executor", module.execute)


def _load(point: EntryPoint) -> Executor:
    try:
        executor = point.load()
    except (ImportError, AttributeError) as error:
        message = f"The executor {point.name!r} ({point.value}) cannot be loaded: {error}."
        raise InvalidConfigurationError(message) from error
    if not callable(executor):
        raise InvalidConfigurationError(f"The executor {point.name!r} ({point.value}) is not callable.")
    return cast("Executor", executor)
