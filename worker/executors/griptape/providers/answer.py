"""An answer in the making, alike for all providers: text, thoughts, tool calls, counts and an end."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeVar

from shared.events.text import storable_text
from worker.executors.griptape.json_text import JsonEnd, load
from worker.executors.griptape.model_errors import AnswerTooLongError
from worker.executors.griptape.providers.endings import Ending
from worker.executors.griptape.providers.inline_thoughts import InlineThoughts

T = TypeVar("T")

_MOST_TOKENS: Final = 10**12  # beyond it is no count

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


MAX_LENGTH: Final = 32 * 1024 * 1024
"""Characters of an answer, with its thoughts, its calls, and what is kept to go back with them."""

_CALL_WEIGHT: Final = 1_000  # characters that a call counts for, beyond its own
_PIECE_WEIGHT: Final = 100
"""The same of each piece of JSON that is kept: it takes memory, however short it is."""

LONGEST_NAME: Final = 1_000
"""Characters of a tool's name as it comes; no tool has so long a one."""

_LONGEST_NULL: Final = 100
"""Characters of arguments that may be `null`, with blanks around it."""

_BESIDE_NAME: Final = re.compile(r"^(?:functions?|tools?|default_api)(?:::|[.:/])|<\|.*", re.DOTALL)
"""What some models put before and after the name of a tool, as they were told of tools."""


@dataclass
class Call:
    """A tool call, as far as it has been received."""

    index: int
    given_id: str = ""  # by the provider
    id: str = ""  # once it is announced
    name: str = ""
    extra: dict[str, Any] = field(default_factory=dict)  # what else belongs to it and is to go back
    _pieces: list[str] = field(default_factory=list)  # of the arguments
    _length: int = 0  # of all of them
    _end: JsonEnd = field(default_factory=JsonEnd)
    _is_whole: bool | None = None  # until more comes

    @property
    def arguments(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def has_arguments(self) -> bool:
        return bool(self._pieces)

    @property
    def is_announced(self) -> bool:
        return bool(self.id)

    @property
    def is_whole(self) -> bool:
        """Whether there are arguments, and nothing more can come of them."""
        if self._is_whole is None:
            may_be = self._end.is_reached or 0 < self._length < _LONGEST_NULL
            self._is_whole = may_be and bool(self.arguments.strip()) and self.read() is not None
        return self._is_whole

    @property
    def tool_name(self) -> str:
        """The name, without what some models put beside it."""
        return _BESIDE_NAME.sub("", self.name.strip()).strip()

    def add(self, arguments: str) -> None:
        if arguments:
            self._pieces.append(arguments)
            self._length += len(arguments)
            self._end.feed(arguments)
            if not arguments.isspace():
                self._is_whole = None

    def replace(self, arguments: str) -> None:
        self._pieces, self._length, self._end = [], 0, JsonEnd()
        self.add(arguments)

    def read(self) -> dict[str, Any] | None:
        """The arguments; None if they are no JSON object. A call without any has none."""
        try:
            found = load(self.arguments) if self.arguments.strip() else {}
            if isinstance(found, str):  # JSON within JSON
                found = load(found)
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
    """A part of a call: its head with its first arguments, or more arguments."""

    call: Call
    is_head: bool
    arguments: str


Part = TextPart | ThoughtPart | CallPart


class Answer:
    """Collects the parts of an answer; `take` returns the new ones."""

    def __init__(self, ids: CallIds) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[Call] = []
        self.refusals: list[str] = []
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
        self._inline = InlineThoughts()
        self._length = 0

    @property
    def text_so_far(self) -> str:
        return "".join(self.texts)

    @property
    def length(self) -> int:
        """Characters so far, and what else counts for its limit."""
        return self._length

    @property
    def refusal(self) -> str:
        """What the model said instead of an answer."""
        return "".join(self.refusals)

    @property
    def has_begun(self) -> bool:
        """Whether a part was emitted, so that the call cannot be repeated."""
        return bool(self.texts) or any(call.is_announced for call in self.calls)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing of an answer was received, not even its end."""
        has_any = self.texts or self.thoughts or self.calls or self.refusals or self._inline.is_waiting
        return not has_any and self.ending is None

    @property
    def places(self) -> dict[int, int]:
        """The place of each call among those that are made, from 1 on, by its index."""
        return {call.index: place for place, call in enumerate(self.calls, 1)}

    def text(self, text: object) -> None:
        """Take a piece of the answer; it may begin with thoughts in tags."""
        self._sort(self._inline.feed(self._whole("text", text)))

    def thought(self, text: object) -> None:
        if whole := self._whole("thought", text):
            self._sort([(True, whole)])

    def refuse(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._lengthen(len(text))
            self.refusals.append(text)

    def keep(self, piece: T) -> T:
        """Note that a JSON value, or bytes, is kept to go back; returns it."""
        self._lengthen(_weight(piece))
        return piece

    def count(self, *, asked: object = None, answered: object = None) -> None:
        """Note how many tokens there are so far."""
        if isinstance(asked, int | float) and 0 <= asked < _MOST_TOKENS:
            self.input_tokens = int(asked)
        if isinstance(answered, int | float) and 0 <= answered < _MOST_TOKENS:
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
            self._lengthen(_CALL_WEIGHT + len(given_id))
            call = Call(index=len(self.calls) + 1, given_id=given_id)
            self.calls.append(call)
        self._keys[key] = call
        call.given_id = call.given_id or given_id
        if not call.has_arguments and given_name != call.name:
            call.name += given_name[: LONGEST_NAME - len(call.name)]
        self._lengthen(len(given) + len(given_name))
        if given.lstrip().startswith("{") and call.is_whole:
            call.replace(given)  # all of them again: nothing may follow what is complete
        else:
            call.add(given)
        if given:
            self._announce(call, given)
        return call

    def close(self) -> None:
        """Release the text that was held back; nothing follows."""
        for kind in ("text", "thought"):
            if held := self._held[kind]:
                self._held[kind] = ""
                whole = storable_text(held)
                self._sort(self._inline.feed(whole) if kind == "text" else [(True, whole)])
        self._sort(self._inline.rest())
        self.calls = [call for call in self.calls if call.name.strip() or call.arguments.strip()]
        for call in self.calls:
            if not call.is_announced:
                self._announce(call, "")

    def take(self) -> Iterator[Part]:
        """Return the parts since the last call."""
        parts, self._parts = self._parts, []
        yield from parts

    def _sort(self, pieces: Iterable[tuple[bool, str]]) -> None:
        """Note pieces, each of which is a thought or is none."""
        for is_thought, piece in pieces:
            self._lengthen(len(piece))
            (self.thoughts if is_thought else self.texts).append(piece)
            self._parts.append(ThoughtPart(piece) if is_thought else TextPart(piece))

    def _lengthen(self, length: int) -> None:
        self._length += length
        if self._length > MAX_LENGTH:
            raise AnswerTooLongError

    def _announce(self, call: Call, arguments: str) -> None:
        is_head = not call.is_announced
        if is_head:
            call.id = self._ids.unique(call.given_id)
        self._parts.append(CallPart(call, is_head, call.arguments if is_head else arguments))

    def _whole(self, kind: str, text: object) -> str:
        """Return the text; half a character at its end is kept for the next piece."""
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
    if given_id and given_id == call.given_id:  # said again, unless nothing else tells two calls apart
        return key is None and bool(given) and call.is_whole and given != call.arguments
    if given_id and call.given_id:
        if key is None:
            return bool(given_name) or call.is_whole
        is_other_name = not call.has_arguments and given_name != call.name
        return bool(given_name) and (is_other_name or call.is_whole)
    return bool(given_name) and (bool(given) or given_name != call.name) and call.is_whole


def _weight(value: Any) -> int:
    """The characters that a JSON value counts for."""
    match value:
        case str() | bytes():
            return _PIECE_WEIGHT + len(value)
        case dict():
            return _PIECE_WEIGHT + sum(_weight(key) + _weight(each) for key, each in value.items())
        case list():
            return _PIECE_WEIGHT + sum(map(_weight, value))
        case _:
            return _PIECE_WEIGHT


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
            return {
                mended_text(key) if isinstance(key, str) else key: mended(each) for key, each in value.items()
            }
        case _:
            return value
