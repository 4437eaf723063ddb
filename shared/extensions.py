"""What is installed beside Runyard: executors and guardrails, found without importing them."""

from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Final

from packaging.requirements import Requirement

EXECUTORS: Final = "runyard.executors"
"""Entry points: the name is the provider (a model is `<provider>/<name>`), the object an executor."""

ECHO: Final = "echo"
FRAMEWORK_PROVIDERS: Final = frozenset(
    {ECHO, "amazon-bedrock", "anthropic", "azure-openai", "cohere", "google", "ollama", "openai"}
)


@cache
def installed_executors() -> Mapping[str, EntryPoint]:
    """The executors of other distributions, by their provider. A look-up reads every distribution's files."""
    return {point.name: point for point in entry_points(group=EXECUTORS)}


def known_providers() -> frozenset[str]:
    """The providers of the framework, and those of other distributions."""
    return FRAMEWORK_PROVIDERS | installed_executors().keys()


GUARDRAILS: Final = "runyard.guardrails"
"""Entry points: the name is the guardrail's, the object a `worker.guardrails.base.Detector`."""

DEFAULT_THRESHOLD: Final = 0.5
"""How sure a detector has to be, unless a run says otherwise."""


@cache
def installed_guardrails() -> Mapping[str, EntryPoint]:
    """The detectors that are there with all that they need, by the guardrail they are for."""
    return {point.name: point for point in entry_points(group=GUARDRAILS) if _is_whole(point)}


def shadowed_extensions() -> list[str]:
    """Find the extensions that have no effect, since another one has their name; a sentence for each.

    A provider of the framework wins over an executor. Of several extensions of one name, one is used.
    """
    found = []
    for group, kind, used in (
        (EXECUTORS, "executor", installed_executors()),
        (GUARDRAILS, "guardrail", installed_guardrails()),
    ):
        for point in entry_points(group=group):
            if group == EXECUTORS and point.name in FRAMEWORK_PROVIDERS:
                rival = "a provider that is built in"
            elif point.name in used and used[point.name] != point:
                rival = _described(used[point.name])
            else:
                continue
            own = f"The {kind} {point.name!r} of {_described(point)}"
            found.append(f"{own} is ignored: {rival} has its name. Rename one.")
    return found


def _described(point: EntryPoint) -> str:
    where = f" ({point.dist.name})" if point.dist else ""
    return f"{point.value}{where}"


def missing_guardrails(guardrails: Collection[str]) -> list[str]:
    """Return those guardrails that no installed detector is for."""
    return sorted(set(guardrails) - installed_guardrails().keys())


def _is_whole(point: EntryPoint) -> bool:
    """Whether what the extras of an entry point ask for is installed, too."""
    for text in (point.dist.requires or ()) if point.dist and point.extras else ():
        needed = Requirement(text)
        if needed.marker is None or not any(needed.marker.evaluate({"extra": one}) for one in point.extras):
            continue
        try:
            version = distribution(needed.name).version
        except PackageNotFoundError:
            return False
        if not needed.specifier.contains(version, prereleases=True):
            return False
    return True
