"""How a program of ours tells its run's output. It runs as a structure: standard library alone."""

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from http import HTTPStatus

TIMEOUT = 10.0  # seconds of one request
PATIENCE = 60.0  # seconds in which an API that is away may come back
PAUSE = 0.5  # seconds between two tries


def finish(text: str) -> None:
    """Post the Finish event of the run this process is, with a text as its output.

    Raises:
        OSError: the API could not be reached for too long, or refused it.
    """
    event = _event(text)
    request = urllib.request.Request(  # noqa: S310  # the address is the operator's
        f"{os.environ['GT_CLOUD_BASE_URL'].rstrip('/')}"
        f"/api/structure-runs/{os.environ['GT_CLOUD_STRUCTURE_RUN_ID']}/events",
        data=json.dumps(event).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['GT_CLOUD_API_KEY']}",
            "Content-Type": "application/json",
        },
        method="POST",
    )
    _send(request)


def _event(text: str) -> dict[str, object]:
    identifier, now = uuid.uuid4().hex, time.time()
    artifact: dict[str, object] = {
        "type": "TextArtifact",
        "id": uuid.uuid4().hex,
        "reference": None,
        "meta": {},
        "name": "output",
        "value": text,
    }
    kind = "FinishStructureRunEvent"
    payload = {
        "type": kind,
        "id": identifier,
        "timestamp": now,
        "meta": {},
        "structure_id": os.environ["GT_CLOUD_STRUCTURE_RUN_ID"],
        "output_task_input": None,
        "output_task_output": artifact,
    }
    return {"type": kind, "timestamp": now, "payload": payload}


def _send(request: urllib.request.Request) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            direct.open(request, timeout=TIMEOUT).close()
        except OSError as error:
            refused = (
                isinstance(error, urllib.error.HTTPError) and error.code < HTTPStatus.INTERNAL_SERVER_ERROR
            )
            if refused or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
        else:
            return
