"""What readers of either dialect are told of a run that began anew: whose each event is, and what counts."""

import pytest
from sqlalchemy import update

from shared.db import unit_of_work
from shared.events import log
from shared.events.log import NewEvent
from shared.lifecycle import RunStatus, Trigger
from shared.models import Origin, RunEvent
from shared.runs import moves, transitions
from tests.integration.api.serving import parsed
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import LEASE, WORKER

ANSWER = {"type": "TextArtifact", "value": "blue light"}


def say(token, called="TextChunkEvent"):
    return NewEvent(Origin.ASSISTANT, "TextChunkEvent", {"type": called, "token": token})


@pytest.fixture
def begin_again(committed_sessions):
    """Give a RUNNING run up in its first attempt, and begin the second."""

    def begin_again(run):
        with unit_of_work(committed_sessions) as session:
            transitions.apply(session, run.id, Trigger.REQUEUE, attempt=1)
            moves.claim(session, RecordingDispatcher(), run.id, attempt=2, worker=WORKER, lease_ttl=LEASE)
            transitions.apply(session, run.id, Trigger.START, attempt=2)

    return begin_again


@pytest.fixture
def tell(committed_sessions):
    def tell(run, *events, attempt):
        with unit_of_work(committed_sessions) as session:
            log.append(session, run.id, events, attempt=attempt)

    return tell


@pytest.fixture
def finish(committed_sessions):
    def finish(run):
        with unit_of_work(committed_sessions) as session:
            transitions.apply(session, run.id, Trigger.SUCCEED, attempt=2, values={"output": ANSWER})

    return finish


@pytest.fixture
def twice(make_run, begin_again, tell, finish):
    """A run that ended in its second attempt, which said again what the first had said."""
    run = make_run(status=RunStatus.RUNNING)
    tell(run, say("blue "), attempt=1)
    begin_again(run)
    tell(run, say("blue ", "RepeatedTextChunkEvent"), say("light"), attempt=2)
    finish(run)
    return run


def listed(served, run):
    return served.client.get(f"/api/assistant-runs/{run.id}/events").json()["events"]


def test_every_event_is_served_with_its_attempt(served, twice):
    events = listed(served, twice)
    attempts = [event["attempt"] for event in events]
    assert attempts == [0, 1, 1, 1, 1, *[2] * 6]
    resets = [event for event in events if event["payload"].get("reset")]
    assert [(event["type"], event["attempt"]) for event in resets] == [("AssistantRunQueued", 1)]
    one = served.client.get(f"/api/events/{events[3]['event_id']}").json()
    assert one["attempt"] == 1


def test_late_and_resumed_readers_are_told_the_same_as_a_live_one(
    served, make_run, begin_again, tell, finish
):
    """A reader that broke off in the first attempt comes back once the second has begun."""
    run = make_run(status=RunStatus.RUNNING)
    tell(run, say("blue "), attempt=1)
    with served.stream(run.id) as live:
        seen = live.take(4)
        begin_again(run)
        tell(run, say("blue ", "RepeatedTextChunkEvent"), say("light"), attempt=2)
        finish(run)
        seen += map(parsed, live.frames())
    assert [event["seq"] for event in seen] == list(range(len(seen)))
    assert [{"seq": seq, **event} for seq, event in enumerate(listed(served, run))] == seen
    assert list(map(parsed, served.frames(run.id))) == seen
    assert list(map(parsed, served.frames(run.id, after=2))) == seen[3:]


def test_what_a_client_knows_of_no_attempts_joins_is_the_answer(served, twice):
    said = [event["payload"] for event in listed(served, twice) if event["type"] == "TextChunkEvent"]
    assert "".join(one["token"] for one in said if one["type"] == "TextChunkEvent") == "blue light"


def test_the_deltas_of_a_message_start_anew_with_the_attempt(served, twice):
    events = served.client.get(f"/v1/orchestrate/runs/{twice.id}/events").json()
    names = [event["event"] for event in events]
    assert names.count("message.started") == names.count("run.started") == 2
    last = len(names) - 1 - names[::-1].index("message.started")
    deltas = [event["data"] for event in events[last:] if event["event"] == "message.delta"]
    assert "".join(data["delta"]["content"][0]["text"] for data in deltas) == "blue light"
    assert [event["data"]["attempt"] for event in events] == [1] * 3 + [2] * (len(events) - 3)
    numbers = [int(event["id"].rpartition("-")[2]) for event in events]
    assert numbers == sorted(set(numbers))


def test_its_message_holds_the_last_attempts_text_alone(served, twice):
    events = served.client.get(f"/v1/orchestrate/runs/{twice.id}/events").json()
    (created,) = [event["data"] for event in events if event["event"] == "message.created"]
    assert created["message"]["content"][0]["text"] == "blue light"
    run = served.client.get(f"/v1/orchestrate/runs/{twice.id}").json()
    assert run["result"]["data"]["message"]["content"][0]["text"] == "blue light"


def test_events_of_an_earlier_release_say_that_their_attempt_is_unknown(served, twice, committed_sessions):
    with unit_of_work(committed_sessions) as session:
        session.execute(update(RunEvent).where(RunEvent.run_id == twice.id).values(attempt=None))
    events = listed(served, twice)
    assert {event["attempt"] for event in events} == {None}
    assert list(map(parsed, served.frames(twice.id))) == [
        {"seq": seq, **event} for seq, event in enumerate(events)
    ]
    told = served.client.get(f"/v1/orchestrate/runs/{twice.id}/events").json()
    assert [event["data"]["attempt"] for event in told] == [1] * 3 + [2] * (len(told) - 3)
