"""A run's events in the watsonx Orchestrate dialect: as lines while they come, and as an array."""

import threading
import uuid
from contextlib import closing

import pytest
import redis
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from shared.db import unit_of_work
from shared.events import log
from shared.events.log import NewEvent
from shared.lifecycle import RunStatus, Trigger
from shared.models import Origin, Run
from shared.runs import moves
from tests.support.dispatching import RecordingDispatcher
from tests.support.waiting import wait_until


@pytest.mark.parametrize("path", ["runs?stream=true", "runs/stream?"])
def test_a_stream_is_lines_of_json_and_ends_in_time(served, committed_sessions, path):
    """Every line is an event: no prefix, no blank line, no comment. Nobody executes this run."""
    body = {"message": {"role": "user", "content": "Listen"}}
    with served.client.stream("POST", f"/v1/orchestrate/{path}&stream_timeout=1500", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.read() == b""
    with unit_of_work(committed_sessions) as session:
        run = session.scalars(select(Run)).one()
        moves.cancel(session, RecordingDispatcher(), run.id, requested_by="me")
    body["thread_id"] = str(run.thread_id)
    events = served.client.get(f"/v1/orchestrate/runs/{run.id}/events").json()
    assert [event["event"] for event in events] == ["run.cancelled", "done"]


@pytest.mark.parametrize("path", ["runs?stream=true", "runs/stream?"])
def test_a_streamed_run_is_on_its_way_before_its_first_line(served, committed_settings, path):
    """Nobody else sends it: there is no reconciler here."""
    body = {"message": {"role": "user", "content": "Listen"}}
    broker = redis.Redis.from_url(committed_settings.redis_url.get_secret_value())
    with (
        closing(broker),
        served.client.stream("POST", f"/v1/orchestrate/{path}&stream_timeout=30000", json=body) as answer,
    ):
        wait_until(lambda: broker.llen("runs") == 1, what="the message to the workers")
        run_id = uuid.UUID(answer.headers["x-run-id"])
    assert served.client.get(f"/v1/orchestrate/runs/{run_id}").json()["status"] == "pending"


def test_its_readers_are_told_the_same_after_its_thread_was_deleted(client, create, move):
    made = create()
    move(made["run_id"], Trigger.CLAIM, Trigger.START, Trigger.SUCCEED)
    url = f"/v1/orchestrate/runs/{made['run_id']}/events"
    before = client.get(url).content
    assert client.delete(f"/v1/threads/{made['thread_id']}").status_code == 204
    assert client.get(url).content == before


def chunks(count, text="word "):
    payloads = [{"type": "TextChunkEvent", "token": f"{text}{number}"} for number in range(count)]
    return [NewEvent(Origin.ASSISTANT, "TextChunkEvent", payload) for payload in payloads]


def texts(events):
    return [
        event["data"]["delta"]["content"][0]["text"] for event in events if event["event"] == "message.delta"
    ]


def test_all_events_of_a_run_are_there_however_many(client, make_run, sessions):
    run = make_run(status=RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        log.append(session, run.id, chunks(1234), attempt=1)
        moves.cancel(session, RecordingDispatcher(), run.id, requested_by="me")
    events = client.get(f"/v1/orchestrate/runs/{run.id}/events").json()
    assert texts(events) == [f"word {number}" for number in range(1234)]
    assert [event["event"] for event in events[-2:]] == ["run.cancelled", "done"]


def test_a_line_is_one_line_to_every_client(client, make_run, sessions):
    """Some split text as Python does."""
    run = make_run(status=RunStatus.RUNNING)
    with unit_of_work(sessions) as session:
        log.append(session, run.id, chunks(3, "a\u2028b\u0085c\r\n"), attempt=1)
        moves.cancel(session, RecordingDispatcher(), run.id, requested_by="me")
    answer = client.get(f"/v1/orchestrate/runs/{run.id}/events")
    assert len(answer.text.splitlines()) == 1
    assert texts(answer.json()) == [f"a\u2028b\u0085c\r\n{number}" for number in range(3)]


@pytest.fixture
def running(committed_sessions, make_run):
    """A run that goes on, in a database that the served API reads."""
    return make_run(status=RunStatus.RUNNING)


@pytest.mark.parametrize("stream_timeout", [0, 1])
def test_a_poll_is_answered_with_what_is_there(served, committed_sessions, running, stream_timeout):
    with unit_of_work(committed_sessions) as session:
        log.append(session, running.id, chunks(300), attempt=1)
    url = f"/v1/orchestrate/runs/{running.id}/events"
    events = served.client.get(url, params={"stream_timeout": stream_timeout}).json()
    assert len(texts(events)) == 300
    assert events[0]["event"] == "run.started"


def test_what_comes_within_the_time_that_is_asked_for_is_there_too(served, committed_sessions, running):
    answer = {}

    def ask():
        url = f"/v1/orchestrate/runs/{running.id}/events"
        answer["events"] = served.client.get(url, params={"stream_timeout": 9_000}, timeout=20).json()

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: served.resources.subscriber.channels, what="somebody to listen")
    with unit_of_work(committed_sessions) as session:
        log.append(session, running.id, chunks(2), attempt=1)
        moves.cancel(session, RecordingDispatcher(), running.id, requested_by="me")
    asking.join(15)  # at the run's end, not at the end of the time
    assert texts(answer["events"]) == ["word 0", "word 1"]
    assert answer["events"][-1]["event"] == "done"


@pytest.mark.parametrize("setting_overrides", [{"stream_reread": 0.05, "stream_heartbeat": 0.05}])
def test_an_outage_delays_stored_events_and_loses_none(served, committed_sessions, running, monkeypatch):
    """Space keeps the connection alive meanwhile, as in any stream."""
    with unit_of_work(committed_sessions) as session:
        log.append(session, running.id, chunks(300), attempt=1)
    log_reader = served.resources.hub._log_reader
    outcomes = iter([None, *[OperationalError("SELECT", None, OSError("refused"))] * 3])
    read = log_reader._page

    def read_or_fail(*args):
        if error := next(outcomes, None):
            raise error
        return read(*args)

    monkeypatch.setattr(log_reader, "_page", read_or_fail)
    url = f"/v1/orchestrate/runs/{running.id}/events"
    answer = served.client.get(url, params={"stream_timeout": 0})
    assert texts(answer.json()) == [f"word {number}" for number in range(300)]
    assert b"} " in answer.content
