"""What users wrote, as a page may show it: no character that steers a terminal or the order of text."""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson
from markupsafe import Markup, escape

LONGEST: Final = 100_000  # characters of any one text on a page

_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_UNFIT_FOR_FORMS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What does not come back from a form as it was, or shows who edits it another order than there is."""

_PICTURES: Final = 0x2400  # of control characters
_FIRST_PRINTABLE: Final = 0x20


def visible(text: str) -> str:
    """Return a text with a sign for each character that is not seen, but has an effect."""
    return _STEERING.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(_PICTURES + code) if code < _FIRST_PRINTABLE else f"⟨U+{code:04X}⟩"


def survives_form(text: str, *, most: int = LONGEST, is_line: bool = False) -> bool:
    """Whether a field of a form shows this text as it is, and gives back exactly it if nobody edits it.

    Args:
        most: characters that the field takes.
        is_line: whether the field has one line.
    """
    return len(text) <= most and not _UNFIT_FOR_FORMS.search(text) and not (is_line and "\n" in text)


def in_form(text: str) -> Markup:
    """Return a text for a field of a form, where every character counts; it survives the form.

    A parser drops a line end at the beginning of a text area, so there is one more.
    """
    return Markup("\n") + escape(text)  # a line end


def lines_of(text: str) -> list[str]:
    """Return the lines of a text; none of the empty text."""
    return text.split("\n") if text else []


def editable(value: Any) -> str:
    """Return a JSON value for a form: as what it is when it comes back, with escapes for what is not seen."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def short(text: Any, most: int) -> str:
    """Return a text of `most` characters at the most, and how many were left out."""
    text = str(text)
    return text if len(text) <= most else f"{text[:most]}… (+{len(text) - most:,} characters)"


def parts_of(value: Any, most: int) -> str:
    """Return a JSON value as text of about `most` characters, without making the whole text first."""
    pieces: list[str] = []
    room = most
    for piece in _pieces(value):
        pieces.append(piece[:room])
        room -= len(piece)
        if room <= 0:
            pieces.append("…")
            break
    return "".join(pieces)


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield f"{', ' if number else ''}{_text(key)}: "
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, item in enumerate(value):
            if number:
                yield ", "
            yield from _pieces(item)
        yield "]"
    else:
        yield _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        cut = value[:LONGEST]
        return orjson.dumps(cut.encode("utf-8", "replace").decode()).decode()
    return orjson.dumps(value, default=str).decode()
