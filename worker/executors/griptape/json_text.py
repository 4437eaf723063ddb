"""JSON that a provider or its model has written."""

import json
import re
from typing import Any, Final

DEEPEST: Final = 100
"""Levels of JSON that is read: whatever goes through more of them would end at the interpreter's limit."""

BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|([{\[])|([}\]])')
"""Texts, which may hold brackets of their own, brackets that open, and those that close."""

MARKS: Final = re.compile(r'["\\{}\[\]]')
"""What opens or closes something in JSON, and what keeps a quotation mark from doing so."""


class JsonEnd:
    """Finds the end of an object, an array or a string that comes in pieces, each of which is read once."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_in_text = False
        self._is_escaped = False
        self._is_closed = False
        self._has_more = False

    @property
    def is_reached(self) -> bool:
        """Whether all that was opened is closed, and nothing but blanks has come since."""
        return self._is_closed and not self._has_more

    def feed(self, piece: str) -> None:
        """Read the next piece. After the end, nothing is read of it."""
        begin = int(self._is_escaped and bool(piece))
        self._is_escaped = self._is_escaped and not piece
        end = 0 if self._is_closed else self._end_in(piece, begin)
        if self._is_closed and piece[end:].strip():
            self._has_more = True

    def _end_in(self, piece: str, begin: int) -> int:
        """Return the place after the end, if it is in the piece."""
        for mark in MARKS.finditer(piece, begin):
            if mark.start() < begin:
                continue  # it is escaped
            match mark[0]:
                case "\\" if self._is_in_text:
                    begin = mark.end() + 1
                    self._is_escaped = begin > len(piece)
                case '"':
                    self._is_in_text = not self._is_in_text
                case "{" | "[" if not self._is_in_text:
                    self._depth += 1
                case "}" | "]" if not self._is_in_text:
                    self._depth -= 1
                case _:
                    continue
            if self._depth <= 0 and not self._is_in_text:
                self._is_closed = True
                return mark.end()
        return 0


def load(text: str) -> Any:
    """What a JSON text says; line ends in its strings are let pass.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    # Before it is parsed: at the interpreter's limit whatever else runs would fail, too.
    if text.count("{") + text.count("[") > DEEPEST and not _is_shallow(text):
        raise ValueError("nested too deeply")
    return json.loads(text, strict=False)


def _is_shallow(text: str) -> bool:
    depth = 0
    for found in BRACKETS.finditer(text):
        depth += (found[1] is not None) - (found[2] is not None)
        if depth > DEEPEST:
            return False
    return True
