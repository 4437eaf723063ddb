"""Which executor a model string asks for."""

import importlib
import threading
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from shared.providers import ECHO, FRAMEWORK_PROVIDERS, GROUP
from worker.executors.base import Executor, InvalidConfigurationError

_loading: Final = threading.RLock()


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


def warm_up() -> None:
    """Import now whatever a run of this installation may use; to be called before any run is executed.

    The libraries share modules, and a run that meets one half imported by another run would fail. What a
    provider lacks, and what is wrong with another distribution's executor, is left for the runs to say.
    """
    with _loading:
        _framework()
        importlib.import_module("worker.executors.structure_tools")
        models = importlib.import_module("worker.executors.models")
        for provider in sorted(FRAMEWORK_PROVIDERS):
            with suppress(InvalidConfigurationError):
                models.load_usable_provider(provider)
        for point in entry_points(group=GROUP):
            if point.name not in FRAMEWORK_PROVIDERS:
                with suppress(InvalidConfigurationError):
                    _load(point)


@cache
def _framework() -> Executor:
    """The griptape executor; importing the framework takes a second, and is done once."""
    with _loading:
        module = importlib.import_module("worker.executors.griptape")
    module.quieten()
    return cast("Executor", module.execute)


def _load(point: EntryPoint) -> Executor:
    try:
        with _loading:
            executor = point.load()
    except (ImportError, AttributeError) as error:
        message = f"The executor {point.name!r} ({point.value}) cannot be loaded: {error}."
        raise InvalidConfigurationError(message) from error
    if not callable(executor):
        raise InvalidConfigurationError(f"The executor {point.name!r} ({point.value}) is not callable.")
    return cast("Executor", executor)
