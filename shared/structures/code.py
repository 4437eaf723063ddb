"""The sources of structures' code, and those that the workers execute."""

from collections.abc import Mapping
from typing import Any, Final

from shared.models import JsonObject

SAMPLE: Final[JsonObject] = {"default": {}}
"""The default code of a structure: a sample that answers with its arguments."""

FOLDER: Final = "folder"
CALLABLE: Final = "callable"
SOURCES: Final = (FOLDER, CALLABLE)
"""The keys of `default` that clients do not know: a folder of the operator, or a `module:callable`."""


def unsupported(code: Mapping[str, Any]) -> str | None:
    """Why the workers cannot execute some code, for people; None if they can."""
    kind = next(iter(code), "default")
    if kind == "default":
        return None
    return (
        f"Code from {kind!r} is stored, and not executed here: put it into a folder of the operator's, "
        '{"default": {"folder": …}}, or run it elsewhere, with "execution": "external".'
    )


def code_source(code: Mapping[str, Any]) -> JsonObject:
    """The code as a deployment names it; the contract has no source for local code."""
    if "data_lake" in code:
        return {"data_lake": code["data_lake"]}
    return {"github": {}}
