"""Provider keys are replaced in what a run emits, also where chunks of text split a key."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from shared.lifecycle import EventType
from worker import redaction
from worker.executors.base import REASONING_CHUNK, ExecutorEvent

_TEXTS: Final[Mapping[str, str]] = {
    EventType.TEXT_CHUNK: "token",
    REASONING_CHUNK: "token",
    "ActionChunkEvent": "partial_input",
}
"""The field that holds the text of a chunk, by the type of the event."""

_HEAD: Final = ("tag", "name", "path", "reset")
"""What the first of several chunks says of all of them."""


class EventRedactor:
    """Replaces the keys of providers in events.

    The end of a chunk that may begin a key waits for the next event: a few characters. Safe from any thread.
    """

    def __init__(self) -> None:
        self._keys = redaction.provider_keys()
        self._held: ExecutorEvent | None = None  # a chunk whose text may begin a key
        self._lock = threading.Lock()

    def passed(self, event: ExecutorEvent) -> list[ExecutorEvent]:
        """Take an event; return the events that can be shown now."""
        if self._keys.is_empty:
            return [event]
        with self._lock:
            field = _TEXTS.get(event.type, "")
            if not isinstance(text := event.payload.get(field), str):
                return [*self._let_go(), replace(event, payload=self.cleaned(event.payload))]
            before: list[ExecutorEvent] = []
            head = _head_of(event)
            if self._held is not None and not head and _is_of_one(self._held, event):
                text = self._held.payload[field] + text
                head = _head_of(self._held)
            else:
                before = self._let_go()
            end = len(text) - self._keys.open_length(text)
            rest, kept = text[end:], {} if end else head
            self._held = _with_text(event, rest, kept) if rest else None
            told = self._keys.redact(text[:end])
            return [*before, *([_with_text(event, told, self.cleaned(head))] if end else [])]

    def rest(self) -> list[ExecutorEvent]:
        """Return the event that was held, when no more come."""
        with self._lock:
            return self._let_go()

    def cleaned(self, value: Any) -> Any:
        """Return a JSON value without keys."""
        match value:
            case str() if len(value) >= redaction.MIN_SECRET:
                return self._keys.redact(value)
            case dict():
                return {self.cleaned(key): self.cleaned(item) for key, item in value.items()}
            case list() | tuple():
                return [self.cleaned(item) for item in value]
            case _:
                return value

    def _let_go(self) -> list[ExecutorEvent]:
        held, self._held = self._held, None
        if held is None:
            return []
        text = self._keys.redact(held.payload[_TEXTS[held.type]])
        return [_with_text(held, text, self.cleaned(_head_of(held)))]


def _head_of(event: ExecutorEvent) -> dict[str, Any]:
    return {name: value for name in _HEAD if (value := event.payload.get(name)) is not None}


def _is_of_one(held: ExecutorEvent, event: ExecutorEvent) -> bool:
    return held.type == event.type and held.payload.get("index") == event.payload.get("index")


def _with_text(event: ExecutorEvent, text: str, head: Mapping[str, Any]) -> ExecutorEvent:
    own = {name: None for name in event.payload if name in _HEAD and name != "reset"}
    rest = {name: value for name, value in event.payload.items() if name not in _HEAD}
    return replace(event, payload={**rest, **own, **head, _TEXTS[event.type]: text})
