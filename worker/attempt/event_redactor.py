"""Provider keys are replaced in what a run emits, also where chunks of text split a key."""

import threading
from dataclasses import replace
from typing import Any

from shared.lifecycle import EventType
from worker import redaction
from worker.executors.base import ExecutorEvent


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
            text = event.payload.get("token")
            if event.type != EventType.TEXT_CHUNK or not isinstance(text, str):
                return [*self._let_go(), replace(event, payload=self.cleaned(event.payload))]
            before: list[ExecutorEvent] = []
            if self._held is not None and self._held.payload.get("index") == event.payload.get("index"):
                text = self._held.payload["token"] + text
            else:
                before = self._let_go()
            end = len(text) - self._keys.open_length(text)
            self._held = _with_token(event, text[end:]) if end < len(text) else None
            return [*before, *([_with_token(event, self._keys.redact(text[:end]))] if end else [])]

    def rest(self) -> list[ExecutorEvent]:
        """Return the event that was held, when no more come."""
        with self._lock:
            return self._let_go()

    def cleaned(self, value: Any) -> Any:
        """Return a JSON value without keys."""
        match value:
            case str():
                return self._keys.redact(value)
            case dict():
                return {key: self.cleaned(item) for key, item in value.items()}
            case list() | tuple():
                return [self.cleaned(item) for item in value]
            case _:
                return value

    def _let_go(self) -> list[ExecutorEvent]:
        held, self._held = self._held, None
        return [] if held is None else [_with_token(held, self._keys.redact(held.payload["token"]))]


def _with_token(event: ExecutorEvent, token: str) -> ExecutorEvent:
    return replace(event, payload={**event.payload, "token": token})
