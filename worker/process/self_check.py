"""The self-check of a worker at its start: finds settings that this machine cannot serve."""

import uuid
from datetime import timedelta
from pathlib import Path

import structlog

from shared.extensions import ECHO, FRAMEWORK_PROVIDERS, shadowed_extensions
from shared.setting_types import names_of
from shared.settings import Settings
from shared.structures.allowed import Allowed, AllowListError
from shared.structures.sandbox import choose
from worker.cancellation import CancelToken
from worker.executors import extensions
from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.registry import resolve

log = structlog.get_logger(__name__)

_complaints: list[str] = []
"""Of this process, set by `check`."""


def check(settings: Settings) -> None:
    """Check the needs of runs, and log each gap. The worker still serves the other runs."""
    found: list[str] = []
    try:
        _try_model(settings.model)
    except InvalidConfigurationError as error:
        found.append(f"RUNYARD_MODEL={settings.model}: {error}")
    if settings.structures_dir is not None and not settings.structures_dir.is_dir():
        found.append(f"RUNYARD_STRUCTURES_DIR: there is no directory {settings.structures_dir}.")
    found += [
        f"RUNYARD_STRUCTURE_PATHS: there is no {path}."
        for path in names_of(settings.structure_paths)
        if not Path(path).exists()
    ]
    try:
        Allowed.of(settings)
    except AllowListError as error:
        found.append(f"What structures may execute cannot be read: {error}")
    choice = choose(settings)
    if choice.sandbox is None and (settings.structures_dir is not None or settings.structure_callables):
        found.append(choice.why_not)
    from worker.executors.models import unusable_providers  # noqa: PLC0415  # it loads the framework

    _complaints[:] = [*found, *unusable_providers(), *extensions.unusable()]
    for sentence in shadowed_extensions():
        log.warning("extension without effect", reason=sentence)
    for complaint in _complaints:
        log.warning("runs will fail", reason=complaint)


def complaints() -> list[str]:
    """Return the gaps that `check` found, a sentence each."""
    return list(_complaints)


def _try_model(model: str) -> None:
    """Prepare a call of the default model, and do not call it.

    Raises:
        InvalidConfigurationError: as runs that name no model would.
    """
    resolve(model)
    provider = model.partition("/")[0]
    if provider == ECHO or provider not in FRAMEWORK_PROVIDERS:
        return
    from worker.executors import models  # noqa: PLC0415  # they load the framework
    from worker.executors.griptape import connections  # noqa: PLC0415  # they load the framework

    context = RunContext(
        run_id=uuid.uuid4(),
        assistant_id=None,
        assistant_name="",
        attempt=0,
        model=model,
        input=None,
        args=(),
        stream=False,
        max_duration=timedelta(minutes=1),
        token=CancelToken(),
    )
    found = connections.ModelConnections(context.token, silence=models.silence_limit(context))
    try:
        models.build_driver(context, found)
    finally:
        found.close()
