"""Keeping secrets of the environment out of what people read, in whatever form they come."""

import base64
import html
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

from shared.models import TEXT_CHUNK
from worker import credentials
from worker.executors.base import ExecutorEvent

MAX_LENGTH: Final = 2_000
"""Characters of a message for people; a provider's answer may be a whole page."""

_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|_URL|AUTH)", re.IGNORECASE)
_SHORTEST_SECRET: Final = 8

PART: Final = 12
"""Characters of a key's beginning or end that give it away: somebody else may have cut it."""


class Secret:
    """A value that nobody is to read, under the name of its variable."""

    def __init__(self, name: str, value: str, *, is_key: bool) -> None:
        """Make it.

        Args:
            name: of its variable.
            value: of which every form is blotted.
            is_key: a part of it is as bad as the whole; an address begins like many others.
        """
        self.forms = forms_of(value)
        self._label = f"[{name}]"
        parts = [form for form in self.forms if is_key and len(form) > PART]
        self._beginnings = _grouped(parts, lambda form: form[:PART])
        self._ends = _grouped(parts, lambda form: form[-PART:])

    def blotted(self, text: str) -> str:
        """A text without it."""
        for form in self.forms:
            if form in text:
                text = text.replace(form, self._label)
        for head, forms in self._beginnings.items():
            if head in text:
                text = _without_beginnings(text, forms, self._label)
        for tail, forms in self._ends.items():
            if tail in text:
                text = _without_ends(text, forms, self._label)
        return text


def _grouped(forms: Sequence[str], key: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
    groups: dict[str, list[str]] = {}
    for form in forms:
        groups.setdefault(key(form), []).append(form)
    return groups


def _without_beginnings(text: str, forms: Sequence[str], label: str) -> str:
    """A text in which no long beginning of a form is left; all of them begin alike."""
    done = 0
    while (start := text.find(forms[0][:PART], done)) >= 0:
        end = start + max(_shared(form, text[start : start + len(form)]) for form in forms)
        text = f"{text[:start]}{label}{text[end:]}"
        done = start + len(label)
    return text


def _without_ends(text: str, forms: Sequence[str], label: str) -> str:
    """A text in which no long end of a form is left; all of them end alike."""
    done = 0
    while (found := text.find(forms[0][-PART:], done)) >= 0:
        end = found + PART
        start = end - max(_shared(form[::-1], text[max(done, end - len(form)) : end][::-1]) for form in forms)
        text = f"{text[:start]}{label}{text[end:]}"
        done = start + len(label)
    return text


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next(
        (count for count, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other))
    )


def redact(message: str) -> str:
    """Blot out every secret value of the environment, then trim what is too long to read."""
    return shortened(message, MAX_LENGTH)


def shortened(message: str, length: int) -> str:
    """A message without secrets, cut to a length: in this order, or half a secret is left at the end."""
    message = blot(message)
    return message if len(message) <= length else f"{message[: length - 1]}…"


def blot(text: str) -> str:
    """A text without any secret value of the environment."""
    return _blotted(text, _secrets(tuple(secrets_among(os.environ).items())))


def _blotted(text: str, secrets: Sequence[Secret]) -> str:
    for secret in secrets:
        text = secret.blotted(text)
    return text


def secrets_among(variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of an environment that are named like a secret, and long enough to be one."""
    return {
        name: value
        for name, value in variables.items()
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAMES.search(name)
    }


@lru_cache(maxsize=4)
def _secrets(variables: tuple[tuple[str, str], ...]) -> tuple[Secret, ...]:
    found = []
    for name, value in variables:
        is_address = "://" in value
        if is_address and not {"@", "?"} & set(value):
            continue  # it lets nobody in, and messages name it
        found.append(Secret(name, value, is_key=not is_address))
        if is_address and (password := _password(value)):
            found.append(Secret(name, password, is_key=False))
    return tuple(found)


def _password(address: str) -> str | None:
    try:
        return unquote(urlsplit(address).password or "") or None
    except ValueError:  # no address after all
        return None


def forms_of(value: str) -> tuple[str, ...]:
    """A value in all the forms in which it may be quoted, the longest first; not those too short to tell."""
    pieces = {value, value.strip(), *re.split(r"[\x00-\x20\x7f]+", value)}
    forms = {form for piece in pieces if len(piece) >= _SHORTEST_SECRET for form in _forms(piece)}
    return tuple(sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True))


def _forms(piece: str) -> Iterator[str]:
    raw = piece.encode("utf-8", "surrogateescape")
    once = (piece, repr(piece)[1:-1], repr(raw)[2:-1], json.dumps(piece)[1:-1], html.escape(piece))
    for form in once:
        yield form
        yield form.replace("\\", "\\\\")  # quoted in what is quoted
    for safe in ("", "/", "/:@"):
        yield (quoted := quote(piece, safe=safe, errors="surrogateescape"))
        yield re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), quoted)
    yield quote_plus(piece, errors="surrogateescape")
    yield raw.hex()
    for shift, unsure in enumerate((0, 2, 3)):  # as it falls into an encoded text, such as user:key
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        core = encoded[unsure : (shift + len(raw)) * 8 // 6]
        yield core
        yield core.replace("+", "-").replace("/", "_")


class EventRedactor:
    """Takes the keys of providers out of what a run emits, though one be split over chunks of text.

    What may be the beginning of a key at the end of a chunk waits for the next event: a few characters.
    Safe from any thread.
    """

    def __init__(self) -> None:
        keys = {name: value for name in credentials.VARIABLES if (value := os.environ.get(name))}
        self._secrets = _secrets(tuple(secrets_among(keys).items()))
        self._forms = _grouped(
            [form for secret in self._secrets for form in secret.forms], lambda form: form[0]
        )
        self._longest = max((len(form) for secret in self._secrets for form in secret.forms), default=0)
        self._held: ExecutorEvent | None = None  # a chunk, of what may be the beginning of a key
        self._lock = threading.Lock()

    def passed(self, event: ExecutorEvent) -> list[ExecutorEvent]:
        """What may be told once an event has come."""
        if not self._secrets:
            return [event]
        with self._lock:
            if event.type == TEXT_CHUNK and isinstance(event.payload.get("token"), str):
                return self._chunk(event)
            return [*self._let_go(), replace(event, payload=self.cleaned(event.payload))]

    def rest(self) -> list[ExecutorEvent]:
        """What was held, when nothing more comes."""
        with self._lock:
            return self._let_go()

    def cleaned(self, value: Any) -> Any:
        """A JSON value without keys."""
        match value:
            case str():
                return _blotted(value, self._secrets)
            case dict():
                return {key: self.cleaned(item) for key, item in value.items()}
            case list() | tuple():
                return [self.cleaned(item) for item in value]
            case _:
                return value

    def _chunk(self, event: ExecutorEvent) -> list[ExecutorEvent]:
        before = []
        text = event.payload["token"]
        if self._held is not None and self._held.payload.get("index") == event.payload.get("index"):
            text = self._held.payload["token"] + text
        else:
            before = self._let_go()
        held = self._beginning_at_end(text)
        told = text[: len(text) - held]
        self._held = _with_token(event, text[len(told) :]) if held else None
        return [*before, *([_with_token(event, _blotted(told, self._secrets))] if told else [])]

    def _let_go(self) -> list[ExecutorEvent]:
        held, self._held = self._held, None
        return [] if held is None else [_with_token(held, _blotted(held.payload["token"], self._secrets))]

    def _beginning_at_end(self, text: str) -> int:
        """How many characters at the end of a text are the beginning of a key, and not yet all of it."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            forms = self._forms.get(text[-length], ())
            if forms and any(len(form) > length and form.startswith(text[-length:]) for form in forms):
                return length
        return 0


def _with_token(event: ExecutorEvent, token: str) -> ExecutorEvent:
    return replace(event, payload={**event.payload, "token": token})
