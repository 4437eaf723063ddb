"""The API behind a real nginx as it comes: buffering, HTTP/1.0 to us, and an end to what is long silent."""

import json
import re
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from urllib.parse import urljoin

import httpx2
import pytest

from api.streaming.waiting import WAIT_TIMEOUT
from cli.client import Client
from shared.db import unit_of_work
from shared.keys.service import new_secret
from shared.lifecycle import RunStatus
from shared.runs import moves
from shared.settings import Settings
from tests.integration.api.serving import NO_TLS, Reader
from tests.support.dispatching import RecordingDispatcher
from tests.support.nginx import READ_TIMEOUT, running_nginx
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

HEARTBEAT = 0.22  # seconds
GIVES_UP = 2.2  # seconds; as many heartbeats as of our default are in what nginx waits, or fewer
SILENCE = 1.25 * GIVES_UP
IMPATIENT = {"read_timeout": GIVES_UP}
PREFIX = "/tools/runyard"


@pytest.fixture
def setting_overrides(request):
    return {"stream_heartbeat": timedelta(seconds=HEARTBEAT), **getattr(request, "param", {})}


@pytest.fixture
def exits():
    """What ends with the test."""
    with ExitStack() as exits:
        yield exits


@pytest.fixture
def proxied(served, secret, tmp_path, exits):
    """Callers of the API by way of an nginx; each has the key."""

    def proxied(**how):
        port = served.client.base_url.port
        directory = tmp_path / f"nginx-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        address = exits.enter_context(running_nginx(directory, port, **how))
        headers = {"Authorization": f"Bearer {secret}"}
        client = httpx2.Client(base_url=address, headers=headers, timeout=20, trust_env=False, verify=NO_TLS)
        return exits.enter_context(client)

    return proxied


@pytest.fixture
def cancel(committed_sessions):
    def cancel(run_id):
        with unit_of_work(committed_sessions) as session:
            moves.cancel(session, RecordingDispatcher(), run_id, requested_by="me")

    return cancel


@pytest.fixture
def later(cancel):
    """Cancel a run once there has been silence for longer than nginx waits."""
    timers = []

    def later(run_id):
        timers.append(threading.Timer(SILENCE, cancel, [run_id]))
        timers[-1].start()

    yield later
    for timer in timers:
        timer.cancel()
        timer.join()


def test_by_default_nothing_is_silent_for_as_long_as_nginx_waits(services):
    defaults = Settings(database_url="postgresql://nowhere/none", redis_url="redis://nowhere/0")
    heartbeat = defaults.stream_heartbeat.total_seconds()
    assert 2 * heartbeat <= 15 < READ_TIMEOUT
    assert READ_TIMEOUT / heartbeat >= GIVES_UP / HEARTBEAT
    at_the_most = WAIT_TIMEOUT + defaults.database_timeout.total_seconds()
    assert at_the_most < READ_TIMEOUT
    assert defaults.keep_alive.total_seconds() > READ_TIMEOUT  # so that it is nginx who closes


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_a_stream_comes_as_it_is_and_outlives_a_long_silence(proxied, make_run, later, status):
    run = make_run(status=status)
    with proxied(**IMPATIENT).stream("GET", f"/api/assistant-runs/{run.id}/events/stream") as answer:
        reader = Reader(answer)
        first = reader.next()  # nginx holds nothing back
        later(run.id)
        started = time.monotonic()
        rest = [json.loads(frame.partition(b"data: ")[2]) for frame in reader.frames()]
    assert first["type"] == "AssistantRunQueued"
    assert rest[-1]["type"] == "AssistantRunCompleted"
    assert time.monotonic() - started > GIVES_UP


def test_a_stream_of_a_structure_run_does_so_too(proxied, factories, later):
    run = factories.structure_run(status=RunStatus.QUEUED)
    later(run.id)
    answer = proxied(**IMPATIENT).get(f"/api/structure-runs/{run.id}/events/stream")
    assert answer.text.count("data: ") >= 2
    assert ": still here" in answer.text


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
def test_a_stream_of_the_other_dialect_is_still_nothing_but_lines_of_json(served, proxied, prefix, later):
    body = {"message": {"role": "user", "content": "Listen"}}
    client = proxied(**IMPATIENT)
    served.client.post(f"{prefix}/orchestrate/runs", json=body)  # the first takes longer
    with client.stream("POST", f"{prefix}/orchestrate/runs?stream=true", json=body) as answer:
        later(answer.headers["x-run-id"])
        parts = list(answer.iter_raw())
    assert parts[0].strip() == b""
    events = [json.loads(line) for line in b"".join(parts).splitlines()]
    assert [event["event"] for event in events] == ["run.cancelled", "done"]
    again = client.get(f"{prefix}/orchestrate/runs/{events[0]['data']['run_id']}/events").json()
    assert events == again


def test_a_list_of_events_that_waits_outlives_it_too(proxied, make_run, later):
    run = make_run(status=RunStatus.RUNNING)
    later(run.id)
    answer = proxied(**IMPATIENT).get(f"/v1/orchestrate/runs/{run.id}/events?stream_timeout=60000")
    assert [event["event"] for event in answer.json()][-1] == "done"


def test_the_end_of_an_ended_run_is_a_204_behind_it_too(proxied, make_run):
    run = make_run(status=RunStatus.SUCCEEDED)
    answer = proxied().get(f"/api/assistant-runs/{run.id}/events/stream", headers={"Last-Event-ID": "4"})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_reader_who_leaves_leaves_nothing_behind(served, proxied, make_run):
    run = make_run(status=RunStatus.RUNNING)
    with proxied().stream("GET", f"/api/assistant-runs/{run.id}/events/stream") as answer:
        Reader(answer).next()
        wait_until(lambda: served.resources.subscriber.channels, what="the reader to listen")
    wait_until(lambda: not served.resources.subscriber.channels, what="the reader to be let go")


def test_a_caller_who_waits_and_leaves_is_waited_for_by_nobody(served, proxied, make_run):
    run = make_run(status=RunStatus.RUNNING)
    with pytest.raises(httpx2.ReadTimeout):
        proxied().get(f"/api/assistant-runs/{run.id}?wait=50", timeout=0.7)
    wait_until(lambda: served.resources.waiter.callers == 0, what="the caller to be let go")


@pytest.mark.parametrize("parts", [[b'{"name": "whole"}'], [b'{"name": ', b'"in pieces"}']])
def test_a_body_comes_through_however_it_is_sent(proxied, parts):
    content = parts[0] if len(parts) == 1 else iter(parts)
    answer = proxied().post("/api/threads", content=content, headers={"Expect": "100-continue"})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("setting_overrides", [{"root_path": PREFIX}], indirect=True)
@pytest.mark.parametrize("takes_path_off", [True, False])
def test_everything_is_found_below_a_path_taken_off_or_not(proxied, make_run, takes_path_off):
    client = proxied(path=PREFIX, takes_path_off=takes_path_off)
    run = make_run(status=RunStatus.SUCCEEDED)
    stream = f"/api/assistant-runs/{run.id}/events/stream"
    for path in ("/health/live", "/health/ready", "/api/users", stream):
        assert client.get(path).status_code == 200, path
    assert client.post("/v1/threads", json={}).status_code == 201
    with Client(str(client.base_url), client.headers["Authorization"].removeprefix("Bearer ")) as commands:
        assert [event.seq for event in commands.follow(str(run.id))] == [0, 1, 2, 3, 4]
    assert client.get("/v1/nowhere").json() == {"detail": "Not Found"}
    assert client.get("/api/nowhere").json()["type"] == "NotFound"
    for mount in ("", "/api/v1", "/v1"):
        page = client.get(f"{mount}/docs")
        (location,) = re.findall(r"url: '(.*?)'", page.text)
        assert location == f"{PREFIX}{mount}/openapi.json"
        for file in re.findall(r'(?:src|href)="(/.*?)"', page.text):
            assert client.get(urljoin(str(page.url), file)).status_code == 200, file
        document = client.get(urljoin(str(page.url), location)).json()
        assert document["servers"] == [{"url": PREFIX + mount}]
        paths = document["paths"].items()
        path = next(path for path, methods in paths if "get" in methods and "{" not in path)
        where = urljoin(str(page.url), document["servers"][0]["url"] + path)
        assert client.get(where).status_code == 200, where


@pytest.mark.parametrize(
    ("setting_overrides", "status"),
    [({"key_refusals": 1, "trusted_proxies": "127.0.0.1"}, 200), ({"key_refusals": 1}, 429)],
    indirect=["setting_overrides"],
)
def test_who_guesses_keys_slows_nobody_else_behind_a_trusted_proxy(proxied, exits, status):
    """What a caller says of its address stands before what the proxy says of it, and is not believed."""
    client = proxied()

    def caller(source):
        """Asks from an address of loopback."""
        transport = httpx2.HTTPTransport(local_address=source, verify=NO_TLS)
        calling = exits.enter_context(httpx2.Client(transport=transport))

        def ask(secret, forwarded):
            headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": forwarded}
            return calling.get(client.base_url.join("api/users"), headers=headers).status_code

        return ask

    guess, ask = caller("127.0.0.2"), caller("127.0.0.3")

    good, numbers, guesses = client.headers["Authorization"].removeprefix("Bearer "), count(), []

    def is_slowed():
        """Guess until one has guessed too much: the rest of the pace is back within a second."""
        guesses.append(guess(new_secret(), f"198.51.100.{next(numbers) % 250}"))
        return guesses[-1] == 429

    def is_answered_alike():
        wait_until(is_slowed, what="the guesses to be slowed")
        return ask(good, "127.0.0.2") == status

    if status == 200:
        assert is_answered_alike()
    else:
        wait_until(is_answered_alike, what="a good key to be slowed with them")
    assert guesses[0] == 401
