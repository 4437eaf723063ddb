"""A request's body as JSON: what cannot be stored or passed on is refused here, with its place."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from shared.errors import InvalidRequestError

MAX_DEPTH: Final = 64
"""Levels of arrays and objects; every library that meets the value later can walk these."""

LONGEST_INTEGER: Final = 20  # characters of one of 64 bits

_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_TOO_LARGE: Final = object()


def read_json(body: bytes) -> Any:
    """Parse a body, whatever its Content-Type was.

    Raises:
        InvalidRequestError: it is not JSON in UTF-8, holds half a surrogate pair, a number that is none
            or an integer of more than 64 bits, is nested too deeply, or has a NUL character anywhere.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}.", path=("body",)) from error
    # All are rare and cheap to rule out in the bytes, so that only suspects are walked through.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH or b"\\u0000" in body:
        for path, item in _walk(value):
            if any(isinstance(text, str) and "\x00" in text for text in (path[-1], item)):
                raise InvalidRequestError("NUL characters cannot be stored.", path=path)
    if _LONG_NUMBER.search(body):  # the parser makes floats of integers that are too large
        for path, item in _walk(json.loads(body, parse_int=_integer)):
            if item is _TOO_LARGE:
                raise InvalidRequestError(
                    "An integer of more than 64 bits would not be kept as it is.", path=path
                )
    return value


def _walk(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every value in a value with its path, without recursion: depth cannot exhaust the stack.

    Raises:
        InvalidRequestError: the value is nested too deeply.
    """
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), {"body": value})]
    while pending:
        path, container = pending.pop()
        if len(path) > MAX_DEPTH:
            raise InvalidRequestError(
                f"The body is nested more than {MAX_DEPTH} levels deep.", path=("body",)
            )
        items: Iterable[tuple[str | int, Any]]
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, item in items:
            yield (*path, key), item
            if isinstance(item, dict | list):
                pending.append(((*path, key), item))


def _integer(text: str) -> object:
    if len(text) > LONGEST_INTEGER:  # also more digits than Python would read
        return _TOO_LARGE
    return 0 if -(2**63) <= int(text) < 2**64 else _TOO_LARGE
