"""Posts a run's output to the API, from inside its program: standard library alone."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

REQUEST_TIMEOUT = 10.0  # seconds
RETRY_TIMEOUT = 60.0  # seconds in which a post is retried while the API is down or busy
RETRY_INTERVAL = 0.5  # seconds
MAX_RETRY_INTERVAL = 10.0  # seconds, if an answer has a longer Retry-After
NOT_POSTED = 170
"""The exit code of a program whose output was not posted because the API was down or busy."""

LIMIT = "RUNYARD_STRUCTURE_OUTPUT"
"""The variable with the number of bytes that an output may have, set by the worker."""

TOO_LARGE = 413  # Python 3.13 renamed it
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class NotTakenError(Exception):
    """The API refused the output; the message has the reason, for people."""


class NotPostedError(Exception):
    """The API was down or busy for RETRY_TIMEOUT; the message has the last error."""


def finish(text: str) -> None:
    """Post the Finish event of this process's run, with a text as its output.

    If the text exceeds the limit, the event reports that instead.

    Raises:
        NotTakenError: the API refuses the output, or it is too large.
        NotPostedError: the API was down or busy for `RETRY_TIMEOUT`.
    """
    limit = int(os.environ.get(LIMIT, "0"))
    size = len(text.encode(errors="surrogatepass"))
    if limit and size > limit:
        _refuse(f"The output has {size} bytes, of the {limit} that it may have at the most ({LIMIT}).")
    try:
        _post({"type": "TextArtifact", "value": text, "meta": {}})
    except urllib.error.HTTPError as error:
        said = _words_of(error)
        if error.code == TOO_LARGE:
            _refuse(said)
        raise NotTakenError(f"The output was not taken: {error.code}, {said}") from error


def finish_or_exit(text: str) -> None:
    """As `finish`; on an error print its sentence last and exit."""
    try:
        finish(text)
    except NotTakenError as error:
        sys.exit(str(error))
    except NotPostedError as error:
        print(error, file=sys.stderr)  # noqa: T201  # as `sys.exit` would, with another code
        sys.exit(NOT_POSTED)


def _refuse(why: str) -> None:
    """Fail the run for the size of its output.

    Raises:
        NotTakenError: always.
    """
    try:
        _post({"type": "ErrorArtifact", "value": why, "meta": {"reason": "OutputTooLarge"}})
    except urllib.error.HTTPError as error:
        raise NotTakenError(f"{why} That was not taken, either: {error.code}, {_words_of(error)}") from error
    raise NotTakenError(why)


def _post(artifact: dict[str, Any]) -> None:
    """Post a Finish event, with retries while the API is down or busy.

    Raises:
        urllib.error.HTTPError: the API refused it for good.
        NotPostedError: the API did not take it within RETRY_TIMEOUT.
    """
    request = urllib.request.Request(  # noqa: S310  # the address is the operator's
        f"{os.environ['GT_CLOUD_BASE_URL'].rstrip('/')}"
        f"/api/structure-runs/{os.environ['GT_CLOUD_STRUCTURE_RUN_ID']}/events",
        data=json.dumps(_event(artifact), ensure_ascii=False).encode(errors="replace"),
        headers={
            "Authorization": f"Bearer {os.environ['GT_CLOUD_API_KEY']}",
            "Content-Type": "application/json",
        },
        method="POST",
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + RETRY_TIMEOUT
    while True:
        try:
            direct.open(request, timeout=REQUEST_TIMEOUT).close()
        except (OSError, HTTPException) as error:  # the latter for an answer that is not HTTP, or cut
            if _is_final(error):
                raise
            pause = _pause_after(error)
            if time.monotonic() + pause > deadline:
                raise NotPostedError(
                    f"The output was not posted: in {RETRY_TIMEOUT:g} s the API took nothing: {_why(error)}"
                ) from error
        else:
            return
        time.sleep(pause)


def _event(artifact: dict[str, Any]) -> dict[str, Any]:
    now, kind = time.time(), "FinishStructureRunEvent"
    payload = {
        "type": kind,
        "id": uuid.uuid4().hex,
        "timestamp": now,
        "meta": {},
        "structure_id": os.environ["GT_CLOUD_STRUCTURE_RUN_ID"],
        "output_task_input": None,
        "output_task_output": {"id": uuid.uuid4().hex, "reference": None, "name": "output", **artifact},
    }
    return {"type": kind, "timestamp": now, "payload": payload}


def _is_final(error: OSError | HTTPException) -> bool:
    """Whether the API has refused, and will again."""
    if not isinstance(error, urllib.error.HTTPError):
        return False
    return error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code not in PASSING


def _pause_after(error: OSError | HTTPException) -> float:
    """Return the seconds until the next try: as the answer asks, within bounds."""
    asked = error.headers.get("Retry-After", "") if isinstance(error, urllib.error.HTTPError) else ""
    if not asked.isdecimal():
        return RETRY_INTERVAL
    return min(max(RETRY_INTERVAL, float(asked)), MAX_RETRY_INTERVAL)


def _why(error: OSError | HTTPException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code}, {_words_of(error)}"
    return str(getattr(error, "reason", error))


def _words_of(error: urllib.error.HTTPError) -> str:
    """Return the API's error messages, or the reason phrase if they cannot be read."""
    try:
        errors = json.loads(error.read(65_536))["errors"]
        return " ".join(str(one["message"]) for one in errors)[:1000]
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return str(error.reason)
