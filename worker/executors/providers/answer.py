"""An answer as it comes in, the same for all providers: text, thoughts, calls of tools, counts and an end."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from shared.events.text import storable_text
from worker.executors.providers.endings import Ending

_MADE_UP: Final = re.compile(r"call\d{5}")
"""An identifier that suits every provider, the strictest of which takes nine letters and digits."""


class CallIds:
    """The identifiers of a run's calls: each is used once, whatever providers send."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._numbers = count(1)

    def unique(self, wanted: str) -> str:
        """What the provider wants, or one that is made up: it gave none, or one that is taken."""
        while not wanted or wanted in self._used:
            wanted = f"call{next(self._numbers):05d}"
        self._used.add(wanted)
        return wanted


def is_made_up(call_id: str) -> bool:
    return _MADE_UP.fullmatch(call_id) is not None


@dataclass
class Call:
    """A call of a tool, as far as it has come."""

    index: int
    given_id: str = ""  # by the provider
    id: str = ""  # once it is announced
    name: str = ""
    arguments: str = ""
    extra: dict[str, Any] = field(default_factory=dict)  # what else belongs to it and is to go back

    @property
    def is_announced(self) -> bool:
        return bool(self.id)

    @property
    def is_whole(self) -> bool:
        return self.read() is not None

    def read(self) -> dict[str, Any] | None:
        """The arguments; None if they are no JSON object. A call without any has none."""
        try:
            found = json.loads(self.arguments, strict=False) if self.arguments.strip() else {}
        except ValueError:
            return None
        if isinstance(found, str):  # JSON within JSON
            try:
                found = json.loads(found, strict=False)
            except ValueError:
                return None
        if found is None:
            return {}
        return mended(found) if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class TextPart:
    """Some text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtPart:
    """Some text of what the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """Something of a call: its head, with whatever of its arguments has come, or more arguments."""

    call: Call
    is_head: bool
    arguments: str


Part = TextPart | ThoughtPart | CallPart


class Answer:
    """Collects what a provider sends; `take` gives what is new."""

    def __init__(self, ids: CallIds) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[Call] = []
        self.refusal = ""  # what the model said instead of an answer
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.ending: Ending | None = None
        self.is_over = False  # the provider said that nothing follows
        self.has_come = False  # anything that is of an answer, be it empty
        self.echo: Any = None  # what the provider wants back beside the calls; its own matter
        self._ids = ids
        self._keys: dict[object, Call] = {}
        self._parts: list[Part] = []
        self._held = {"text": "", "thought": ""}  # half a character

    @property
    def text_so_far(self) -> str:
        return "".join(self.texts)

    @property
    def has_begun(self) -> bool:
        """Whether callers have seen something of it, so that it cannot be asked for again."""
        return bool(self.texts) or any(call.is_announced for call in self.calls)

    def text(self, text: object) -> None:
        if whole := self._whole("text", text):
            self.texts.append(whole)
            self._parts.append(TextPart(whole))

    def thought(self, text: object) -> None:
        if whole := self._whole("thought", text):
            self.thoughts.append(whole)
            self._parts.append(ThoughtPart(whole))

    def refuse(self, text: object) -> None:
        if isinstance(text, str):
            self.refusal += text

    def count(self, *, asked: object = None, answered: object = None) -> None:
        """Note how many tokens there are so far."""
        if isinstance(asked, int | float) and asked >= 0:
            self.input_tokens = int(asked)
        if isinstance(answered, int | float) and answered >= 0:
            self.output_tokens = int(answered)

    def end(self, ending: Ending | None) -> None:
        self.ending = ending or self.ending

    def call(
        self, key: object, *, call_id: object = None, name: object = None, arguments: object = None
    ) -> Call:
        """Note a call, or more of one.

        Args:
            key: tells the call from others, where the provider does; None where it does not.
            call_id: empty or None if it is not repeated.
            name: whole, or a piece that continues it.
            arguments: a piece of JSON, or an object that is all of them.
        """
        given_id = call_id if isinstance(call_id, str) else ""
        given_name = name if isinstance(name, str) else ""
        given = (
            arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
        )
        call = self._keys.get(key) if key is not None else (self.calls[-1] if self.calls else None)
        if call is None or _is_another(call, key, given_id, given_name, given):
            call = Call(index=len(self.calls) + 1, given_id=given_id)
            self.calls.append(call)
        self._keys[key] = call
        call.given_id = call.given_id or given_id
        if not call.arguments and given_name != call.name:
            call.name += given_name
        if given.lstrip().startswith("{") and call.arguments and call.is_whole:
            call.arguments = given  # all of them again: nothing may follow what is complete
        else:
            call.arguments += given
        if given:
            self._announce(call, given)
        return call

    def close(self) -> None:
        """Nothing follows: give out what was held back."""
        for kind, part in (("text", TextPart), ("thought", ThoughtPart)):
            if held := self._held[kind]:
                self._held[kind] = ""
                (self.texts if kind == "text" else self.thoughts).append(storable_text(held))
                self._parts.append(part(storable_text(held)))
        self.calls = [call for call in self.calls if call.name or call.arguments.strip()]
        for call in self.calls:
            if not call.is_announced:
                self._announce(call, "")

    def take(self) -> Iterator[Part]:
        """What has come since the last time."""
        parts, self._parts = self._parts, []
        yield from parts

    def _announce(self, call: Call, arguments: str) -> None:
        is_head = not call.is_announced
        if is_head:
            call.id = self._ids.unique(call.given_id)
        self._parts.append(CallPart(call, is_head, call.arguments if is_head else arguments))

    def _whole(self, kind: str, text: object) -> str:
        """The text, with the first half of a character kept until its other half has come."""
        if not isinstance(text, str) or not text:
            return ""
        joined = self._held[kind] + text
        self._held[kind] = ""
        if "\ud800" <= joined[-1] <= "\udbff":
            joined, self._held[kind] = joined[:-1], joined[-1]
        return mended_text(joined)


def _is_another(call: Call, key: object, given_id: str, given_name: str, given: str) -> bool:
    """Whether what comes is not of the call that its key, or else its place, says.

    Some servers give every call the same index, some give each piece of a call an identifier of its
    own, and some give neither: a call whose arguments are complete is not continued.
    """
    has_all = bool(call.arguments) and call.is_whole
    if given_id and given_id == call.given_id:  # said again, unless nothing else tells two calls apart
        return key is None and has_all and bool(given) and given != call.arguments
    if given_id and call.given_id:
        if key is None:
            return bool(given_name) or has_all
        return bool(given_name) and (has_all or (not call.arguments and given_name != call.name))
    return has_all and bool(given_name) and (bool(given) or given_name != call.name)


def mended_text(text: str) -> str:
    """Text with the halves of characters joined, and those replaced that are alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def mended(value: Any) -> Any:
    """JSON, every text of which is one."""
    match value:
        case str():
            return mended_text(value)
        case list():
            return [mended(each) for each in value]
        case dict():
            return {mended_text(key): mended(each) for key, each in value.items()}
        case _:
            return value
