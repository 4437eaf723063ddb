"""How a program of ours tells its run's output. It runs as a structure: standard library alone."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from http import HTTPStatus
from typing import Any

TIMEOUT = 10.0  # seconds of one request
PATIENCE = 60.0  # seconds in which an API that is away, or busy, may come back
PAUSE = 0.5  # seconds between two tries
LONGEST_PAUSE = 10.0  # seconds; an answer may ask for more
NOT_TOLD = 170
"""The exit code of a program whose output the API could not take, for no fault of the program's."""

LIMIT = "RUNYARD_STRUCTURE_OUTPUT"
"""The variable in which a worker says how many bytes an output may have."""

TOO_LARGE = 413  # Python 3.13 renamed it
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class NotTakenError(Exception):
    """The API does not take the output: the message says why, for people."""


class NotToldError(Exception):
    """The API could not be reached, or was busy, for too long: the message says how."""


def finish(text: str) -> None:
    """Post the Finish event of the run this process is, with a text as its output.

    Of a text that is larger than may be kept, an event that says so is posted in its place.

    Raises:
        NotTakenError: the API refuses it, or it is too large.
        NotToldError: the API could not be reached, or was busy, for `PATIENCE`.
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
    """As `finish`; what keeps the output from being told ends the program, with a sentence as its last."""
    try:
        finish(text)
    except NotTakenError as error:
        sys.exit(str(error))
    except NotToldError as error:
        print(error, file=sys.stderr)  # noqa: T201  # as `sys.exit` would, with another code
        sys.exit(NOT_TOLD)


def _refuse(why: str) -> None:
    """Have the run end for the size of its output; raise."""
    try:
        _post({"type": "ErrorArtifact", "value": why, "meta": {"reason": "OutputTooLarge"}})
    except urllib.error.HTTPError as error:
        raise NotTakenError(f"{why} That was not taken, either: {error.code}, {_words_of(error)}") from error
    raise NotTakenError(why)


def _post(artifact: dict[str, Any]) -> None:
    """Post a Finish event, again and again while the API is away or busy.

    Raises:
        urllib.error.HTTPError: it was refused for good.
        NotToldError: it could not be posted in time.
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
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            direct.open(request, timeout=TIMEOUT).close()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and not _is_passing(error):
                raise
            pause = _pause(error)
            if time.monotonic() + pause > deadline:
                raise NotToldError(
                    f"The output could not be told: in {PATIENCE:g} s the API took nothing: {_why(error)}"
                ) from error
            time.sleep(pause)
        else:
            return


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


def _is_passing(error: urllib.error.HTTPError) -> bool:
    return error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in PASSING


def _pause(error: OSError) -> float:
    """Seconds until the next try: what the answer asks for, within bounds."""
    asked = error.headers.get("Retry-After", "") if isinstance(error, urllib.error.HTTPError) else ""
    return min(max(PAUSE, float(asked)), LONGEST_PAUSE) if asked.isdecimal() else PAUSE


def _why(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code}, {_words_of(error)}"
    return str(getattr(error, "reason", error))


def _words_of(error: urllib.error.HTTPError) -> str:
    """What the API said, in its own words if they can be read."""
    try:
        errors = json.loads(error.read(65_536))["errors"]
        return " ".join(str(one["message"]) for one in errors)[:1000]
    except (OSError, ValueError, LookupError, TypeError):
        return str(error.reason)
