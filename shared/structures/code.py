"""Where a structure's code is (contract: griptape §9), and which of it this system executes."""

from collections.abc import Mapping
from typing import Any, Final

from shared.models import JsonObject

SAMPLE: Final[JsonObject] = {"default": {}}
"""The code of a structure that names none: a sample, which answers with its arguments."""

FOLDER: Final = "folder"
CALLABLE: Final = "callable"
SOURCES: Final = (FOLDER, CALLABLE)
"""What `default` may hold beyond the contract: a folder of the operator's, or a `module:callable`."""


def unsupported(code: Mapping[str, Any]) -> str | None:
    """Why code cannot be executed here, for people; None if it can."""
    kind = next(iter(code), "default")
    if kind == "default":
        return None
    return (
        f"Code from {kind!r} is stored, and not executed here: put it into a folder of the operator's, "
        '{"default": {"folder": …}}, or run it elsewhere, with "execution": "external".'
    )


def code_source(code: Mapping[str, Any]) -> JsonObject:
    """The code as a deployment names it; the contract has no word for code that is here already."""
    if "data_lake" in code:
        return {"data_lake": code["data_lake"]}
    return {"github": {}}
