"""The framework's events and artifacts as JSON objects, exactly as its clients read them.

What the framework's own `to_dict` gives, at a hundredth of its cost: that builds a schema for each
object, and loads the library of every installed provider first.
"""

import base64
from functools import cache
from typing import Any, Final

import attrs
from griptape.artifacts import BaseArtifact, TextArtifact
from griptape.events import BaseEvent
from pydantic import BaseModel

_TEXT_TYPES: Final = frozenset({"str", "str | None", str, str | None})
"""As they are written, and as the framework resolves them on occasion."""


def event_payload(event: BaseEvent) -> dict[str, Any]:
    """The fields of an event and nothing else: a client fails on a key that it does not know."""
    return _object(event)


def output_payload(artifact: BaseArtifact) -> dict[str, Any]:
    """An answer as the artifact object of a run: its value is always text, lists and JSON included."""
    payload = _object(artifact)
    if isinstance(payload["value"], str):
        kept = {key: payload[key] for key in ("type", "id", "reference", "meta", "name", "value")}
    else:
        kept = _object(TextArtifact(artifact.to_text(), id=artifact.id, name=artifact.name))
    return kept


def _object(value: Any) -> dict[str, Any]:
    return {
        key: _text(getattr(value, source)) if is_text else _plain(getattr(value, source))
        for key, source, is_text in _fields(value.__class__)
    }


@cache
def _fields(owner: type) -> tuple[tuple[str, str, bool], ...]:
    """Of each serializable field: its key, the attribute it is read from, whether it is text by its type."""
    return tuple(
        (
            attribute.alias or attribute.name,
            attribute.metadata.get("serialization_key") or attribute.alias or attribute.name,
            attribute.type in _TEXT_TYPES,
        )
        for attribute in attrs.fields(owner)
        if attribute.metadata.get("serializable")
    )


def _text(value: Any) -> Any:
    """Text, whatever a model or a tool put where its type says text."""
    return value if value is None or isinstance(value, str) else str(value)


def _plain(value: Any) -> Any:
    match value:
        case None | str() | bool() | int() | float():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case BaseModel():
            return value.model_dump(mode="json")
        case _:
            return _object(value) if attrs.has(type(value)) else str(value)
