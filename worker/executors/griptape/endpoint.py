"""Failed responses of providers, alike for httpx and httpx2."""

import time
from contextlib import suppress
from typing import Any, Final

from worker.executors.griptape.model_errors import NoAnswerError, RefusalError

MAX_REFUSAL: Final = 64 * 1024  # bytes of a refusal that are read
REFUSAL_TIMEOUT: Final = 10.0  # seconds in which the body of a refusal may come: its status is known already
_FIRST_FAILURE: Final = 300
_COMPRESSIONS: Final = frozenset({"br", "deflate", "gzip", "zstd"})


def refuse_failure(response: Any) -> None:
    """Raise an error for a response of httpx or httpx2 that is none of success, or that cannot be read.

    Only the beginning of the body is read: the providers' libraries would read a body without end. A body
    that breaks off, does not end, or is not encoded as it claims takes nothing from the status. One that is
    compressed twice is not read at all: of a few kilobytes it may make gigabytes at once.

    Raises:
        RefusalError: with the beginning of its body. A redirect that can be followed is none.
        NoAnswerError: the answer is compressed twice.
    """
    encodings = response.headers.get_list("content-encoding", split_commas=True)
    is_bomb = sum(encoding.lower() in _COMPRESSIONS for encoding in encodings) > 1
    if response.status_code < _FIRST_FAILURE or response.has_redirect_location:
        if is_bomb:
            raise NoAnswerError
        return
    parts: list[bytes] = []
    size = 0
    timeouts = response.request.extensions["timeout"]  # of the connection, from now on
    timeouts["read"] = min(timeouts["read"], REFUSAL_TIMEOUT)
    deadline = time.monotonic() + REFUSAL_TIMEOUT
    try:
        with suppress(Exception):  # of the connection, or of the encoding
            for part in () if is_bomb else response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_REFUSAL or time.monotonic() > deadline:
                    break
    finally:
        response.close()
    body = b"".join(parts)[:MAX_REFUSAL]
    try:
        text = body.decode(response.charset_encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):  # of a charset that does not exist, or that replaces nothing
        text = body.decode("utf-8", "replace")
    raise RefusalError(response.status_code, text, dict(response.headers))
