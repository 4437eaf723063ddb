"""What a worker lacks of what its settings say, found out when it starts and told to whoever asks."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import structlog

from shared.providers import ECHO, FRAMEWORK_PROVIDERS
from shared.settings import Settings
from shared.structures.sandbox import choose
from worker.cancellation import CancelToken
from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.registry import resolve

log = structlog.get_logger(__name__)

_complaints: list[str] = []
"""Of this process, as found by `look`."""


def look(settings: Settings) -> None:
    """Look at what runs will need, and log what is missing. A worker that lacks it serves other runs."""
    _complaints[:] = _found(settings)
    for complaint in _complaints:
        log.warning("runs will fail", reason=complaint)


def complaints() -> list[str]:
    """What was missing, a sentence each."""
    return list(_complaints)


def _found(settings: Settings) -> Iterator[str]:
    try:
        _try_model(settings.model)
    except InvalidConfigurationError as error:
        yield f"RUNYARD_MODEL={settings.model}: {error}"
    if settings.structures_dir is not None and not settings.structures_dir.is_dir():
        yield f"RUNYARD_STRUCTURES_DIR: there is no directory {settings.structures_dir}."
    choice = choose(settings)
    if choice.sandbox is None and (settings.structures_dir is not None or settings.structure_callables):
        yield choice.why_not


def _try_model(model: str) -> None:
    """Make ready to call a model, and call nothing.

    Raises:
        InvalidConfigurationError: runs that name no model would end with this.
    """
    resolve(model)
    provider = model.partition("/")[0]
    if provider == ECHO or provider not in FRAMEWORK_PROVIDERS:
        return
    from worker.executors import connections, models  # noqa: PLC0415  # they load the framework

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
