"""Escaping of control characters, so that foreign text cannot steer a terminal."""

import re
from typing import Final

_STEERING: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1: escape sequences begin with these
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, invisible
    "\ud800-\udfff"  # surrogates, which cannot be encoded
    "\U000e0000-\U000e0fff"  # tags
    "]"
)
"""Characters that move the cursor, reorder text, or are invisible. Joiners are allowed: scripts need them."""

_BREAKING: Final = re.compile("[\n\t]")

_BEYOND_ASCII: Final = re.compile("[^\x00-\x7f]")

_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str) -> str:
    """Escape control characters except line feeds and tabs. CRLF becomes LF."""
    return _STEERING.sub(_escaped, text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """Escape control characters, line feeds and tabs, so that the text is one line."""
    return _BREAKING.sub(_escaped, _STEERING.sub(_escaped, text))


def visible_json(text: str) -> str:
    """Escape control characters of a JSON text by JSON's own escapes; its meaning stays."""
    return _STEERING.sub(_escaped_in_json, text)


def ascii_json(text: str) -> str:
    """Escape what is not ASCII in a JSON text by JSON's own escapes; its meaning stays."""
    return _BEYOND_ASCII.sub(_escaped_in_json, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if number <= 0xFF:  # noqa: PLR2004  # two digits, as Python writes it
        return _SHORT.get(character, f"\\x{number:02x}")
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004  # four digits


def _escaped_in_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
