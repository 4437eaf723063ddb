"""Repeated text: the part of an answer that an earlier attempt has shown is marked as a repetition."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from shared.lifecycle import REPEATED_TEXT, EventType
from worker.executors.base import ExecutorEvent

SURE: Final = 200  # characters; so long a common beginning is a repetition, not chance


class Repeats:
    """Compares the text of an attempt with the text that earlier attempts have shown.

    While the two are the same, the text is a repetition (see `REPEATED_TEXT`), in pieces of at least `SURE`
    characters. A second answer mostly differs soon: then all of it is new, from its first word. Safe from
    any thread.
    """

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._at = 0  # characters of it that have been repeated
        self._held = ""
        self._last: ExecutorEvent | None = None  # of the text that is held
        self._lock = threading.Lock()

    def passed(self, event: ExecutorEvent) -> list[ExecutorEvent]:
        """Take an event; return the events to write now."""
        token = event.payload.get("token")
        with self._lock:
            if self._at >= len(self._shown):
                return [event]
            if event.type != EventType.TEXT_CHUNK or not isinstance(token, str):
                return [*self._repeated(), event]
            return list(self._compared(event, token))

    def rest(self) -> list[ExecutorEvent]:
        """Return the events that were held back, when nothing more comes."""
        with self._lock:
            return list(self._repeated())

    def _compared(self, event: ExecutorEvent, token: str) -> Iterator[ExecutorEvent]:
        same = token[: len(self._shown) - self._at]
        if not self._shown.startswith(same, self._at):
            held, self._held, self._shown = self._held, "", ""
            yield _with_token(event, held + token)
            return
        self._at += len(same)
        self._held += same
        self._last = event
        if self._at >= len(self._shown) or len(self._held) >= SURE:
            yield from self._repeated()
        if len(same) < len(token):
            yield _with_token(event, token[len(same) :])

    def _repeated(self) -> Iterator[ExecutorEvent]:
        if self._held and self._last is not None:
            told = _with_token(self._last, self._held)
            self._held = ""
            yield replace(told, payload={**told.payload, "type": REPEATED_TEXT})


def _with_token(event: ExecutorEvent, token: str) -> ExecutorEvent:
    return replace(event, payload={**event.payload, "token": token})
