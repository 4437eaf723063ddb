"""Which guardrails can be kept here: the detectors that are installed, found without importing them."""

from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Final

from packaging.requirements import Requirement

GROUP: Final = "runyard.guardrails"
"""Entry points: the name is the guardrail's, the object a `worker.guardrails.base.Detector`."""

DEFAULT_THRESHOLD: Final = 0.5
"""How sure a detector has to be, unless a run says otherwise (contract: watsonx §2.3)."""


@cache
def installed() -> Mapping[str, EntryPoint]:
    """The detectors that are there with all that they need, by the guardrail they are for."""
    return {point.name: point for point in entry_points(group=GROUP) if _is_whole(point)}


def missing(guardrails: Collection[str]) -> list[str]:
    """Return those guardrails that no installed detector is for."""
    return sorted(set(guardrails) - installed().keys())


def _is_whole(point: EntryPoint) -> bool:
    """Whether what the extras of an entry point ask for is installed, too."""
    texts = (point.dist.requires or ()) if point.dist and point.extras else ()
    return all(_is_met(Requirement(text), point.extras) for text in texts)


def _is_met(requirement: Requirement, extras: Collection[str]) -> bool:
    if requirement.marker is None or not any(requirement.marker.evaluate({"extra": one}) for one in extras):
        return True
    try:
        return requirement.specifier.contains(distribution(requirement.name).version, prereleases=True)
    except PackageNotFoundError:
        return False
