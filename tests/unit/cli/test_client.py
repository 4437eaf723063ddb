"""The command line's side of the HTTP API: what it asks, what it survives, what it says of errors."""

import json
from collections.abc import Callable, Iterator

import httpx2
import pytest

from cli import client as cli_client
from cli.client import (
    ApiRefusedError,
    ApiUnavailableError,
    ApiUnreachableError,
    Client,
    Event,
    KeyRefusedError,
)
from shared.lifecycle import RunKind

RUN_ID = "7f0c52ab-93ab-4c9f-8f0b-0d4f1c2a8e11"

Handler = Callable[[httpx2.Request], httpx2.Response]


def client_of(handler: Handler) -> Client:
    return Client("http://127.0.0.1:1/", "ry_key", transport=httpx2.MockTransport(handler))


def frame(seq: int, kind: str = "TextChunkEvent", origin: str = "ASSISTANT") -> bytes:
    event = {
        "origin": origin,
        "type": kind,
        "payload": {"token": str(seq)},
        "created_at": "2026-01-01T00:00:00.000000Z",
    }
    return f"id: {seq}\ndata: {json.dumps(event)}\n\n".encode()


def last(seq: int) -> bytes:
    return frame(seq, "AssistantRunCompleted", "SYSTEM")


def stream(*parts: bytes | Exception) -> httpx2.Response:
    def body() -> Iterator[bytes]:
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_INTERVAL", 0)


def follow(*answers: httpx2.Response) -> tuple[list[int], list[str | None]]:
    """The numbers that were seen, and from where each connection was asked to go on."""
    waiting, cursors = list(answers), []

    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == "Bearer ry_key"
        cursors.append(request.headers.get("last-event-id"))
        return waiting.pop(0)

    with client_of(handler) as client:
        return [event.seq for event in client.follow(RUN_ID)], cursors


def test_a_run_is_followed_to_its_last_event():
    assert follow(stream(frame(0), b": heartbeat\n\n", frame(1), last(2))) == ([0, 1, 2], [None])


def test_a_lost_connection_is_resumed_behind_the_last_event_seen():
    lost = stream(frame(0), frame(1), httpx2.ReadError("gone"))
    assert follow(lost, stream(frame(2), last(3))) == ([0, 1, 2, 3], [None, "1"])


def test_a_stream_that_ends_before_the_run_is_resumed():
    assert follow(stream(frame(0)), stream(last(1))) == ([0, 1], [None, "0"])


def test_following_ends_once_the_api_has_nothing_more():
    assert follow(stream(frame(0)), httpx2.Response(204)) == ([0], [None, "0"])


def test_an_api_that_is_away_for_a_moment_is_asked_again():
    assert follow(httpx2.Response(503, json={}), stream(last(0))) == ([0], [None, None])


def test_an_api_that_is_too_busy_with_wrong_keys_is_asked_again():
    too_many = httpx2.Response(429, headers={"Retry-After": "2"}, json={})
    assert follow(stream(frame(0)), too_many, stream(last(1))) == ([0, 1], [None, "0", "0"])


def test_a_run_whose_end_was_seen_is_read_across_a_restart(clock):
    del clock
    away, busy = httpx2.ConnectError("gone"), httpx2.Response(503, json={})
    answers = [away, busy, httpx2.Response(200, json={"a": 1})]

    def handler(_request):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert client_of(handler).get_ended_run(RUN_ID) == {"a": 1}


def test_a_run_whose_end_was_seen_is_not_waited_for_for_ever(clock, monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_INTERVAL", 50)
    gone = httpx2.ConnectError("gone")
    with failing_with(gone) as client, pytest.raises(ApiUnreachableError, match="gone"):
        client.get_ended_run(RUN_ID)
    assert clock.now < 1200


def test_an_event_that_comes_twice_is_seen_once():
    assert follow(stream(frame(0)), stream(frame(0), last(1))) == ([0, 1], [None, "0"])


def test_a_callers_own_event_of_that_type_does_not_end_the_run():
    users = frame(0, "AssistantRunCompleted", "USER")
    assert follow(stream(users, last(1))) == ([0, 1], [None])


def test_following_ends_when_the_api_stays_away(monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_TIMEOUT", 0)
    with pytest.raises(ApiUnreachableError, match="gone"):
        follow(stream(httpx2.ReadError("gone")), stream(last(0)))


class Clock:
    """A clock that stands still unless it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cli_client, "time", clock)
    return clock


def quiet(clock: Clock, seconds: float, *then: bytes | Exception) -> httpx2.Response:
    """A stream that is open for some seconds before it goes on, or ends."""

    def body() -> Iterator[bytes]:
        yield b": heartbeat\n\n"
        clock.now += seconds
        yield from stream(*then).iter_raw()

    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())


def test_a_stream_that_was_quiet_for_long_is_resumed_when_it_is_lost(clock):
    lost = [quiet(clock, 3600, httpx2.ReadError("gone")), quiet(clock, 3600)]
    assert follow(stream(frame(0)), *lost, stream(last(1))) == ([0, 1], [None, "0", "0", "0"])


def test_an_outage_is_timed_from_its_begin(clock, monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_INTERVAL", 50)
    away = [httpx2.Response(503, json={})] * 3
    with pytest.raises(ApiUnreachableError, match="503"):
        follow(quiet(clock, 3600), *away, stream(last(0)))


def test_streams_that_end_at_once_without_an_event_are_an_outage(clock, monkeypatch):
    monkeypatch.setattr(cli_client, "RECONNECT_INTERVAL", 50)
    with pytest.raises(ApiUnreachableError, match="ended before the run"):
        follow(stream(), stream(), stream(), stream(last(0)))


def test_following_an_unknown_run_is_an_error_at_once():
    with pytest.raises(ApiRefusedError, match="404: no such run"):
        follow(httpx2.Response(404, json={"type": "x", "errors": [{"type": "y", "message": "no such run"}]}))


def failing_with(outcome: httpx2.Response | Exception) -> Client:
    def handler(_request: httpx2.Request) -> httpx2.Response:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return client_of(handler)


@pytest.mark.parametrize(
    ("outcome", "error", "message"),
    [
        (httpx2.ConnectError("refused"), ApiUnreachableError, "No Runyard API answers at http://127.0.0.1:1"),
        (httpx2.ReadTimeout("slow"), ApiUnreachableError, "Is `runyard dev` running"),
        (httpx2.Response(401, json={"type": "x"}), KeyRefusedError, "--api-key"),
        (httpx2.Response(400, json={"errors": ["wrong", "bad"]}), ApiRefusedError, "400: wrong; bad"),
        (httpx2.Response(503, text="<html>"), ApiUnavailableError, "503: Service Unavailable"),
        (httpx2.Response(502, json=["odd"]), ApiUnavailableError, "502: Bad Gateway"),
    ],
)
def test_a_failure_is_one_readable_line(outcome, error, message):
    with failing_with(outcome) as client, pytest.raises(error) as failure:
        client.get_run(RUN_ID)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(("name", "expected"), [("second", "id-2"), ("new", "id-3")])
def test_an_assistant_is_found_on_any_page_or_made(name, expected):
    pages = {
        "": {"assistants": [{"name": "first", "assistant_id": "id-1"}], "pagination": {"next_cursor": "c"}},
        "c": {"assistants": [{"name": "second", "assistant_id": "id-2"}], "pagination": {}},
    }

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            assert json.loads(request.content) == {"name": "new"}
            return httpx2.Response(201, json={"assistant_id": "id-3"})
        return httpx2.Response(200, json=pages[request.url.params["cursor"]])

    with client_of(handler) as client:
        assert client.ensure_assistant(name) == expected


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (None, {"input": "hi", "stream": True}),
        ("openai/m", {"input": "hi", "stream": True, "model": "openai/m"}),
    ],
)
def test_a_run_is_asked_for(model, body):
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/assistants/id-1/runs"
        assert json.loads(request.content) == body
        return httpx2.Response(201, json={"assistant_run_id": RUN_ID})

    with client_of(handler) as client:
        assert client.create_run("id-1", "hi", model=model) == RUN_ID


def test_an_event_is_read_from_its_frame():
    def handler(_request: httpx2.Request) -> httpx2.Response:
        return stream(last(7))

    with client_of(handler) as client:
        (event,) = client.follow(RUN_ID)
    assert event == Event(7, "SYSTEM", "AssistantRunCompleted", {"token": "7"}, event.created_at)
    assert event.created_at.year == 2026


@pytest.mark.parametrize("kind", RunKind)
def test_many_runs_are_cancelled_call_by_call_until_none_remains(kind):
    asked = []

    def handler(request):
        assert request.url.path == f"/api/{kind}s/a/runs/cancel"
        asked.append(json.loads(request.content))
        left = 2 - len(asked)
        return httpx2.Response(200, json={f"{kind}_run_ids": [f"run {left}"], "remaining": left})

    assert list(client_of(handler).cancel_runs("a", ["QUEUED"], kind=kind)) == ["run 1", "run 0"]
    assert asked == [{"statuses": ["QUEUED"]}] * 2
