"""How much a program may give back, and what stands in the place of more."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.artifacts import ERROR, error_artifact
from shared.models import JsonObject
from shared.runs.lifecycle import Reason

SETTING: Final = "RUNYARD_STRUCTURE_OUTPUT"


def size_of(value: Any) -> int:
    """Bytes of a value: of a text its own, of anything else those of its JSON."""
    return len(value.encode(errors="surrogatepass") if isinstance(value, str) else orjson.dumps(value))


def output_size(artifact: Any) -> int:
    """Bytes of what an artifact says; of what is no artifact, of all of it."""
    return size_of(artifact.get("value", artifact) if isinstance(artifact, dict) else artifact)


def too_large(what: str, size: int, limit: int) -> str:
    """Why something is not kept, for people: how large it is, how large it may be, and who says so."""
    return f"{what} has {size} bytes, of the {limit} that it may have at the most ({SETTING})."


def stand_in(message: str) -> JsonObject:
    """What stands in the place of an output that is too large."""
    return {**error_artifact(message), "meta": {"reason": Reason.OUTPUT_TOO_LARGE}}


def why_too_large(output: Any) -> str | None:
    """What a run's output says if it stands in the place of one that is too large; None of any other."""
    if not isinstance(output, Mapping) or output.get("type") != ERROR:
        return None
    meta = output.get("meta")
    is_one = isinstance(meta, Mapping) and meta.get("reason") == Reason.OUTPUT_TOO_LARGE
    return str(output.get("value")) if is_one else None
