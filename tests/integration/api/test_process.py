"""The API as a process of its own."""

import signal
import threading

import pytest

from shared.runs.lifecycle import RunStatus
from tests.integration.api.serving import Reader, api_process


@pytest.fixture
def process(committed_settings, secret):
    """`python -m api`, and a client for it."""
    with api_process(committed_settings, secret=secret, LOG_LEVEL="DEBUG") as process:
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_and_then_the_process(process, make_run, number):
    client = process.client
    run = make_run(status=RunStatus.RUNNING)
    followed = []

    def follow():
        with client.stream("GET", f"/api/assistant-runs/{run.id}/events/stream") as response:
            for frame in Reader(response).frames():
                followed.append(frame)
                has_replayed.set()

    has_replayed = threading.Event()
    follower = threading.Thread(target=follow)
    follower.start()
    assert has_replayed.wait(10)
    process.popen.send_signal(number)
    assert process.popen.wait(10) == 0
    follower.join(5)
    assert not follower.is_alive()
    assert len(followed) == 3
    logged = process.log
    assert "Traceback" not in logged
    assert client.headers["Authorization"].split()[1] not in logged


def test_a_key_in_the_address_of_a_webhook_is_in_no_line_of_the_log(process):
    client = process.client
    secret = client.headers["Authorization"].split()[1]
    structure = client.post("/api/structures", json={"name": "x", "webhook_enabled": True}).json()
    url = f"/api/structures/{structure['structure_id']}/webhook?api_key={secret}"
    del client.headers["Authorization"]
    answers = [
        client.post(url),
        client.post(url, content=b"\xff"),
        client.put(url),
        client.get(url.replace("webhook", "nothing")),
        client.get(url + "x"),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 405, 404, 401]
    process.popen.send_signal(signal.SIGTERM)
    process.popen.wait(10)
    logged = process.log
    assert logged.count("/webhook") == 4
    assert not [text for text in (logged, *(answer.text for answer in answers)) if secret in text]
