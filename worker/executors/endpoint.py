"""Refusing a provider's response that is no success, whatever library has sent the request."""

from collections.abc import Iterator
from typing import Any, Final

from worker.executors.model_errors import RefusalError

MAX_REFUSAL: Final = 64 * 1024  # bytes of a refusal that are read
_FIRST_FAILURE: Final = 300


def refuse_failure(response: Any) -> None:
    """Raise a response of httpx or httpx2 whose status says that it is no success.

    The providers' libraries would read all of it, be it without end.

    Raises:
        RefusalError: with the beginning of its body. A redirect that can be followed is none.
    """
    if response.status_code < _FIRST_FAILURE or response.has_redirect_location:
        return
    try:
        body = b"".join(_bounded(response.iter_bytes()))[:MAX_REFUSAL]
    finally:
        response.close()
    text = _decoded(body, response.charset_encoding or "utf-8")
    raise RefusalError(response.status_code, text, dict(response.headers))


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, "replace")
    except LookupError:  # of a charset that does not exist
        return body.decode("utf-8", "replace")


def _bounded(parts: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for part in parts:
        yield part
        size += len(part)
        if size > MAX_REFUSAL:
            return
