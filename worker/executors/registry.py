"""The executors of this installation, by the run or by the model string."""

import importlib
import threading
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint
from typing import Final, cast

from shared.extensions import ECHO, FRAMEWORK_PROVIDERS, installed_executors, known_providers
from shared.settings import Settings
from worker.executors import extensions
from worker.executors.base import Executor, InvalidConfigurationError, RunContext
from worker.executors.program.executor import make_executor as make_program_executor

_loading: Final = threading.RLock()
_loaded: Final[dict[EntryPoint, Executor]] = {}


def executor_of(context: RunContext, settings: Settings) -> Executor:
    """Return the executor of a run: of its program, or else of its model.

    Raises:
        InvalidConfigurationError: as `resolve`.
    """
    return resolve(context.model) if context.program is None else make_program_executor(settings)


def resolve(model: str) -> Executor:
    """Return the executor of `provider/model`.

    Raises:
        InvalidConfigurationError: it does not exist, or cannot be loaded.
    """
    provider, _, name = model.partition("/")
    if provider in FRAMEWORK_PROVIDERS:
        if not name and provider != ECHO:
            raise InvalidConfigurationError(f"{model!r} names a provider and no model: {provider}/<model>.")
        return _framework()
    if (point := installed_executors().get(provider)) is not None:
        return _load(point)
    known = ", ".join(sorted(known_providers()))
    raise InvalidConfigurationError(
        f"There is no provider {provider!r}; a model is <provider>/<model>, and the providers are {known}."
    )


def is_loaded(model: str) -> bool:
    """Whether the executor of `provider/model` is loaded, so that `resolve` returns it at once."""
    provider, _, name = model.partition("/")
    if provider in FRAMEWORK_PROVIDERS:
        return (bool(name) or provider == ECHO) and _framework.cache_info().currsize > 0
    return installed_executors().get(provider) in _loaded


def warm_up() -> None:
    """Import everything that a run of this installation may use, before the first run is executed.

    The libraries share modules: a run that meets a module half imported by another run would fail. A provider
    that lacks something, and an executor that cannot be loaded, are left for the runs to report.
    """
    with _loading:
        _framework()
        importlib.import_module("worker.executors.griptape.structure_tools")
        models = importlib.import_module("worker.executors.models")
        for provider in sorted(FRAMEWORK_PROVIDERS):
            with suppress(InvalidConfigurationError):
                models.load_usable_provider(provider)
        for name, point in installed_executors().items():
            if name not in FRAMEWORK_PROVIDERS:
                with suppress(InvalidConfigurationError):
                    _load(point)


@cache
def _framework() -> Executor:
    """Return the griptape executor; the first call imports the framework, which takes a second."""
    with _loading:
        module = importlib.import_module("worker.executors.griptape.executor")
    module.quieten()
    return cast("Executor", module.execute)


def _load(point: EntryPoint) -> Executor:
    if (loaded := _loaded.get(point)) is not None:  # without the lock, under which others import for long
        return loaded
    with _loading:
        executor: Executor = extensions.load(point, kind="executor")
    _loaded[point] = executor
    return executor
