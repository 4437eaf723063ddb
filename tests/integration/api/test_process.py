"""The API as a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from api.traffic.http_protocol import GuardedProtocol
from shared.db import unit_of_work
from shared.lifecycle import RunStatus
from shared.models import Run
from tests.integration.api.serving import Reader, api_process, received, serving
from tests.support.locks import waiting_for_locks
from tests.support.waiting import wait_until


@pytest.fixture
def process(committed_settings, secret):
    """`python -m api`, and a client for it."""
    with api_process(committed_settings, secret=secret, LOG_LEVEL="DEBUG") as process:
        yield process


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full_length)]
)
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
    assert has_replayed.wait(60)
    process.popen.send_signal(number)
    assert process.popen.wait(60) == 0
    follower.join(60)
    assert not follower.is_alive()
    assert len(followed) == 3
    logged = process.log
    assert "Traceback" not in logged
    assert client.headers["Authorization"].split()[1] not in logged


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/api/assistant-runs/{}/cancel", "errors"),
        pytest.param("/api/v1/orchestrate/runs/cancel/{}", "detail", marks=pytest.mark.full_length),
    ],
)
def test_a_request_that_is_not_done_when_the_process_ends_is_told_so(
    committed_settings, committed_sessions, secret, make_run, path, shape
):
    """Promise 7: somebody holds the run for longer than the process may take to stop."""
    run = make_run(status=RunStatus.RUNNING)
    with (
        api_process(committed_settings, secret=secret, LOCK_TIMEOUT="60", STATEMENT_TIMEOUT="60") as process,
        ThreadPoolExecutor(1) as callers,
    ):
        with unit_of_work(committed_sessions) as session:
            session.execute(select(Run.id).where(Run.id == run.id).with_for_update())
            asked = callers.submit(process.client.post, path.format(run.id), timeout=60)
            wait_until(lambda: waiting_for_locks(committed_sessions), what="the request to wait")
            process.popen.send_signal(signal.SIGTERM)
            answer = asked.result(60)
        assert process.popen.wait(60) == 0
        assert "Traceback" not in process.log
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "has not finished" in str(answer.json()[shape])


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
    process.popen.wait(60)
    logged = process.log
    assert logged.count("/webhook") == 4
    assert not [text for text in (logged, *(answer.text for answer in answers)) if secret in text]


def test_the_log_of_a_request_names_its_key_and_has_neither_secret_nor_query(process, factories):
    secret = process.client.headers["Authorization"].split()[1]
    assert process.client.get("/api/users", params={"page": "1", "x": "unheard-of"}).status_code == 200
    assert process.client.get("/api/users?x=unheard-of", headers={"Authorization": "x"}).status_code == 401

    def lines_of_both():  # each is written once its answer is out
        lines = [json.loads(line) for line in process.log.splitlines() if '"/api/users"' in line]
        return lines if len(lines) == 2 else None

    lines = wait_until(lines_of_both)
    assert [(line["status"], line["key"]) for line in lines] == [
        (200, str(factories._principal.key_id)),
        (401, None),
    ]
    assert not [text for text in (secret, "unheard-of") if text in process.log]


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("localhost", marks=pytest.mark.full_length)])
def test_a_port_that_is_taken_is_one_sentence_and_the_end(committed_settings, host):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {
            **os.environ,
            "RUNYARD_DATABASE_URL": committed_settings.database_url.get_secret_value(),
            "RUNYARD_REDIS_URL": committed_settings.redis_url.get_secret_value(),
            "RUNYARD_API_HOST": host,
            "RUNYARD_API_PORT": str(port),
        }
        done = subprocess.run(
            [sys.executable, "-m", "api"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: The API cannot listen on {host}, port {port}: Address already in use.\n"


def test_bodies_that_do_not_come_hold_up_nobody_elses(committed_settings, secret, make_assistant, factories):
    """One organization announces more than there is room for, and sends nothing of it."""
    principal, others = factories.principal_and_secret()
    path = f"/api/assistants/{make_assistant(principal).id}/runs"
    head = (
        f"POST /api/assistants HTTP/1.1\r\nAuthorization: Bearer {secret}\r\nContent-Length: 1000000\r\n\r\n"
    )
    with (
        api_process(
            committed_settings, secret=others, MAX_BODY_MEMORY="2097152", BODY_TIMEOUT="1"
        ) as process,
        contextlib.ExitStack() as connections,
    ):
        before = process.memory
        announced = [connections.enter_context(process.connect(timeout=60)) for _ in range(30)]
        for connection in announced:
            connection.sendall(head.encode() + b"[")
        assert process.client.post(path, json={"args": ["hello"]}).status_code == 201
        assert process.memory - before < 30_000_000
        for connection in announced:
            assert received(connection).split()[1] in {b"408", b"503"}  # too slow, or too many in the queue


def test_a_connection_that_cannot_be_swept_takes_no_other_along(committed_settings, secret, monkeypatch):
    odd, swept = set(), []

    def sweep(connection, seconds):
        if connection.client[1] in odd:
            raise RuntimeError("odd connection")
        swept.append(connection)
        plain(connection, seconds)

    plain = GuardedProtocol.sweep
    monkeypatch.setattr(GuardedProtocol, "sweep", sweep)
    with serving(committed_settings, secret=secret) as served:
        address = served.server.servers[0].sockets[0].getsockname()
        with socket.create_connection(address, timeout=60) as strange:
            odd.add(strange.getsockname()[1])
            assert served.client.get("/health/live").status_code == 200
            assert strange.recv(1) == b""
        seen = len(swept)
        wait_until(lambda: len(swept) > seen, what="another round")
        assert served.client.get("/health/live").status_code == 200
