"""A request's body as JSON: what cannot be stored or passed on is refused here, with its place."""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from shared.errors import InvalidRequestError

MAX_DEPTH: Final = 64
"""Levels of arrays and objects; every library that meets the value later can walk these."""


def read_json(body: bytes) -> Any:
    """Parse a body, whatever its Content-Type was.

    Raises:
        InvalidRequestError: it is not JSON in UTF-8, holds half a surrogate pair or a number that
            is none, is nested too deeply, or has a NUL character in a key or a string.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}.", path=("body",)) from error
    # Both are rare and cheap to rule out in the bytes, so that only suspects are walked through.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH or b"\\u0000" in body:
        _check(value)
    return value


def _check(value: Any) -> None:
    """Walk through a value without recursion, so that its depth cannot hurt."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), {"body": value})]
    while pending:
        path, container = pending.pop()
        if len(path) > MAX_DEPTH:
            raise InvalidRequestError(
                f"The body is nested more than {MAX_DEPTH} levels deep.", path=("body",)
            )
        for key, item in _items(container):
            if _has_nul(key) or _has_nul(item):
                raise InvalidRequestError("NUL characters cannot be stored.", path=(*path, key))
            if isinstance(item, dict | list):
                pending.append(((*path, key), item))


def _items(container: dict[str, Any] | list[Any]) -> Iterable[tuple[str | int, Any]]:
    return container.items() if isinstance(container, dict) else enumerate(container)


def _has_nul(value: Any) -> bool:
    return isinstance(value, str) and "\x00" in value
