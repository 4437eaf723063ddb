"""Reading a provider's response, whatever library has sent the request."""

from collections.abc import Iterator
from typing import Any, Final

from worker.executors.model_errors import RefusalError

MAX_REFUSAL: Final = 256 * 1024  # bytes of a refusal that are read
_FIRST_FAILURE: Final = 300


def accepted(response: Any) -> Any:
    """A response of httpx or httpx2 that is a success, its body not yet read.

    Raises:
        RefusalError: its status says that it is none; a redirect that was not followed is none, either.
    """
    if response.status_code < _FIRST_FAILURE:
        return response
    try:
        body = b"".join(_bounded(response.iter_bytes()))
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
