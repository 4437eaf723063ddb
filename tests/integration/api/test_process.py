"""The API as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import threading

import httpx2
import pytest

from shared.runs.lifecycle import RunStatus
from tests.integration.api.serving import Reader
from tests.support.waiting import wait_until


@pytest.fixture
def process(committed_settings, secret):
    """`python -m api`, and a client for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
        "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
        "RUNYARD_API_PORT": str(port),
        "RUNYARD_LOG_LEVEL": "DEBUG",
    }
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        subprocess.Popen(
            [sys.executable, "-m", "api"], env=env, stderr=subprocess.PIPE, text=True
        ) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client,
    ):
        try:
            wait_until(lambda: is_ready(client), timeout=30, what="the API to be ready")
            yield process, client
        finally:
            process.kill()


def is_ready(client):
    try:
        return client.get("/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_and_then_the_process(process, make_run, number):
    process, client = process
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
    process.send_signal(number)
    assert process.wait(10) == 0
    follower.join(5)
    assert not follower.is_alive()
    assert len(followed) == 3
    logged = process.stderr.read()
    assert "Traceback" not in logged
    assert client.headers["Authorization"].split()[1] not in logged


def test_a_key_in_the_address_of_a_webhook_is_in_no_line_of_the_log(process):
    process, client = process
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
    process.send_signal(signal.SIGTERM)
    logged = process.communicate(timeout=10)[1]
    assert logged.count("/webhook") == 4
    assert not [text for text in (logged, *(answer.text for answer in answers)) if secret in text]
