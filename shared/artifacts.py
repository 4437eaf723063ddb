"""Artifacts, the framework's form for what is said (contract: griptape §7.5), as JSON."""

import json
import uuid
from typing import Final

import orjson

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
    """An artifact as the JSON string that messages hold (contract: griptape §11)."""
    return orjson.dumps(artifact).decode()


def decode_text(message: str) -> str:
    """The text of a message's side, whether it holds an artifact's JSON or plain text."""
    try:
        artifact = orjson.loads(message)
    except orjson.JSONDecodeError:
        return message
    if not isinstance(artifact, dict) or "value" not in artifact or "type" not in artifact:
        return message
    return artifact_text(artifact)


def artifact_text(artifact: JsonObject) -> str:
    """What an artifact says, as text; what is no text, as JSON."""
    value = artifact.get("value")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
