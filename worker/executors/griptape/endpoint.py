"""Failed responses of providers, alike for httpx and httpx2."""

from contextlib import suppress
from typing import Any, Final

from worker.executors.griptape.model_errors import RefusalError

MAX_REFUSAL: Final = 64 * 1024  # bytes of a refusal that are read
_FIRST_FAILURE: Final = 300


def refuse_failure(response: Any) -> None:
    """Raise an error for a response of httpx or httpx2 without a status of success.

    Only the beginning of the body is read: the providers' libraries would read a body without end. A body
    that breaks off, or that is not encoded as it claims, takes nothing from the status.

    Raises:
        RefusalError: with the beginning of its body. A redirect that can be followed is none.
    """
    if response.status_code < _FIRST_FAILURE or response.has_redirect_location:
        return
    parts: list[bytes] = []
    size = 0
    try:
        with suppress(Exception):  # of the connection, or of the encoding
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_REFUSAL:
                    break
    finally:
        response.close()
    body = b"".join(parts)[:MAX_REFUSAL]
    try:
        text = body.decode(response.charset_encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):  # of a charset that does not exist, or that replaces nothing
        text = body.decode("utf-8", "replace")
    raise RefusalError(response.status_code, text, dict(response.headers))
