"""Loading what other distributions bring: executors and detectors of guardrails."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, Final

from shared.extensions import FRAMEWORK_PROVIDERS, installed_executors, installed_guardrails
from worker.executors.base import InvalidConfigurationError

OURS: Final = "runyard"


def load(point: EntryPoint, *, kind: str) -> Callable[..., Any]:
    """Return what an entry point names.

    Args:
        kind: what it is, for people: `executor` or `detector`.

    Raises:
        InvalidConfigurationError: it cannot be imported, whatever its module raises, or cannot be called.
    """
    what = f"The {kind} {point.name!r} ({point.value})"
    try:
        found: object = point.load()
    except (Exception, SystemExit) as error:
        raise InvalidConfigurationError(
            f"{what} cannot be loaded: {str(error) or type(error).__name__}."
        ) from error
    if not callable(found):
        raise InvalidConfigurationError(f"{what} is not callable.")
    return found


def unusable() -> list[str]:
    """Try to load every extension of another distribution; return a sentence for each that cannot be."""
    kinds: dict[EntryPoint, str] = {
        **{one: "executor" for one in installed_executors().values() if one.name not in FRAMEWORK_PROVIDERS},
        **dict.fromkeys(installed_guardrails().values(), "detector"),
    }
    found = []
    for point, kind in kinds.items():
        if point.dist is not None and point.dist.name == OURS:
            continue  # it is loaded by the first run that needs it
        try:
            load(point, kind=kind)
        except InvalidConfigurationError as error:
            found.append(str(error))
    return found
