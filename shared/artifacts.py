"""Artifacts: the JSON form of texts, errors and outputs, and sizes of outputs."""

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.lifecycle import Reason
from shared.models import JsonObject

ERROR: Final = "ErrorArtifact"


def text_artifact(text: str) -> JsonObject:
    """A text."""
    return _artifact("TextArtifact", text)


def error_artifact(message: str) -> JsonObject:
    """A message that says why there is no answer."""
    return _artifact(ERROR, message)


def _artifact(kind: str, value: str) -> JsonObject:
    identifier = uuid.uuid4().hex
    return {
        "type": kind,
        "id": identifier,
        "reference": None,
        "meta": {},
        "name": identifier,
        "value": value,
    }


def encode_artifact(artifact: JsonObject) -> str:
    """An artifact as the JSON string that messages hold."""
    return orjson.dumps(artifact).decode()


def decode_text(message: str) -> str:
    """The text of a message's side, whether it holds an artifact's JSON or plain text.

    What is nested so deeply that it could not be written again is plain text, too.
    """
    try:
        artifact = orjson.loads(message)
        if not isinstance(artifact, dict) or "value" not in artifact or "type" not in artifact:
            return message
        if not isinstance(artifact["value"], str):
            orjson.dumps(artifact["value"])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return message
    return artifact_text(artifact)


def artifact_text(artifact: JsonObject) -> str:
    """What an artifact says, as text; what is no text, as JSON."""
    value = artifact.get("value")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


SETTING: Final = "RUNYARD_STRUCTURE_OUTPUT"


def size_of(value: Any) -> int:
    """Bytes of a value: of the text itself, or of the value as JSON."""
    return len(value.encode(errors="surrogatepass") if isinstance(value, str) else orjson.dumps(value))


def output_size(artifact: Any) -> int:
    """Bytes of an artifact's value; without an artifact, of the whole."""
    return size_of(artifact.get("value", artifact) if isinstance(artifact, dict) else artifact)


def too_large(what: str, size: int, limit: int) -> str:
    """Why something is not stored, for people: its size, the limit, and the setting of the limit."""
    return f"{what} has {size} bytes, of the {limit} that it may have at the most ({SETTING})."


def stand_in(message: str) -> JsonObject:
    """The artifact that replaces an output that is too large."""
    return {**error_artifact(message), "meta": {"reason": Reason.OUTPUT_TOO_LARGE}}


def why_too_large(output: Any) -> str | None:
    """The message of an output that replaces one that is too large; None for any other output."""
    if not isinstance(output, Mapping) or output.get("type") != ERROR:
        return None
    meta = output.get("meta")
    is_one = isinstance(meta, Mapping) and meta.get("reason") == Reason.OUTPUT_TOO_LARGE
    return str(output.get("value")) if is_one else None
