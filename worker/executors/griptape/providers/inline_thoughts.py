"""Thoughts in tags at the beginning of an answer's text.

Servers of open models do, unless they are told how the model marks its thoughts. Tags that come later
are text like any other: an answer may be about them.
"""

from collections.abc import Generator, Iterator
from typing import Final

_TAGS: Final = {
    "<think>": "</think>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
    "<|channel|>analysis<|message|>": "<|start|>assistant<|channel|>final<|message|>",
}
"""How models begin their thoughts, and how they end them."""

_LONGEST_BLANK: Final = 1_000  # characters of space that are kept to see what follows

Piece = tuple[bool, str]
"""Whether it is a thought, and what it says."""


class InlineThoughts:
    """Separates the thoughts at the beginning of a text from the text, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._pending = ""
        self._end: str | None = None  # of the thoughts it is amid
        self._is_text = False  # thoughts would have begun by now
        self._has_thought = False

    @property
    def is_waiting(self) -> bool:
        """Whether a part of the text is held back."""
        return bool(self._pending)

    def feed(self, text: str) -> Iterator[Piece]:
        """Take more text; return the parts that are certain."""
        if self._is_text:
            if text:
                yield False, text
            return
        self._pending += text
        while self._pending and not self._is_text:
            is_waiting = yield from (self._begin() if self._end is None else self._think(self._end))
            if is_waiting:
                return

    def rest(self) -> Iterator[Piece]:
        """Return the part that was held back, when nothing follows."""
        pending, self._pending = self._pending, ""
        if pending:
            yield self._end is not None, pending

    def _begin(self) -> Generator[Piece, None, bool]:
        """Look at the beginning; returns whether more has to come."""
        bare = self._pending.lstrip()
        if self._has_thought:  # what is between thoughts and answer is neither's
            self._pending = bare
        for begin, end in _TAGS.items():
            if bare.startswith(begin):
                self._pending, self._end = bare[len(begin) :], end
                return False
            if bare.startswith(end):  # what it ends was in the prompt, or is elsewhere in the answer
                self._pending, self._has_thought = bare[len(end) :], True
                return False
        may_begin = any(tag.startswith(bare) for pair in _TAGS.items() for tag in pair)
        if may_begin and len(self._pending) < _LONGEST_BLANK:
            return True
        pending, self._pending = self._pending, ""
        self._is_text = True
        if pending:
            yield False, pending
        return False

    def _think(self, end: str) -> Generator[Piece, None, bool]:
        """Look for the end of the thoughts; returns whether more has to come."""
        thought, found, rest = self._pending.partition(end)
        if found:
            self._pending, self._end, self._has_thought = rest, None, True
        else:
            begun = range(min(len(end) - 1, len(thought)), 0, -1)  # characters of the tag that may have come
            kept = next((length for length in begun if thought.endswith(end[:length])), 0)
            thought, self._pending = thought[: len(thought) - kept], thought[len(thought) - kept :]
        if thought:
            yield True, thought
        return not found
