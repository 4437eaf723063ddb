"""Events of a run, listed and one by one."""

import uuid

import pytest

from api.griptape.event_schemas import EventPage, EventView
from shared.db import unit_of_work
from shared.events import log
from shared.events.log import NewEvent
from shared.lifecycle import RunStatus
from shared.models import Origin


@pytest.fixture
def told_run(sessions, make_run):
    """A RUNNING run with ten events."""
    run = make_run(status=RunStatus.RUNNING)
    chunks = [NewEvent(Origin.ASSISTANT, "TextChunkEvent", {"token": f"{n}"}) for n in range(7)]
    with unit_of_work(sessions) as session:
        log.append(session, run.id, chunks, attempt=1)
    return run


def numbers(page):
    return [page[name] for name in ("count", "total_count", "limit", "offset", "next_offset")]


def test_events_are_whole_objects_in_order(client, told_run):
    page = client.get(f"/api/assistant-runs/{told_run.id}/events").json()
    assert numbers(page) == [10, 10, 100, 0, 10]
    first = page["events"][0]
    assert set(first) == {
        *("event_id", "assistant_run_id", "attempt", "created_at"),
        *("origin", "payload", "timestamp", "type"),
    }
    assert (first["type"], first["origin"]) == ("AssistantRunQueued", "SYSTEM")
    assert isinstance(first["timestamp"], float)
    assert isinstance(first["payload"], dict)
    assert [event["payload"]["token"] for event in page["events"][3:]] == [str(n) for n in range(7)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=4", [4, 10, 4, 0, 4]),
        ("limit=4.0&offset=8.0", [2, 10, 4, 8, 10]),
        ("offset=10", [0, 10, 100, 10, 10]),
        ("offset=2147483647", [0, 10, 100, 2147483647, 2147483647]),
        ("limit=100000", [10, 10, 1000, 0, 10]),
        ("limit=&offset=&page=x&page_size=50", [10, 10, 100, 0, 10]),
        ("limit=99999999999", [10, 10, 1000, 0, 10]),
    ],
)
def test_a_poller_is_told_where_to_go_on(client, told_run, query, expected):
    page = client.get(f"/api/assistant-runs/{told_run.id}/events?{query}").json()
    assert numbers(page) == expected
    assert all(isinstance(number, int) for number in numbers(page))


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize("value", ["-1", "x", "1.5", "%00", "%ff", "9" * 5000, "1e3", "null"])
def test_garbage_is_a_400_that_names_it(client, told_run, name, value):
    answer = client.get(f"/api/assistant-runs/{told_run.id}/events?{name}={value}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == f"query.{name}"


def test_an_offset_that_no_run_can_reach_is_a_400(client, told_run):
    assert client.get(f"/api/assistant-runs/{told_run.id}/events?offset=99999999999").status_code == 400


def test_one_event_by_its_id(client, told_run, as_stranger):
    events = client.get(f"/api/assistant-runs/{told_run.id}/events?limit=2").json()["events"]
    url = f"/api/events/{events[1]['event_id']}"
    assert client.get(url).json() == events[1] | {"structure_run_id": None}
    unknown = str(uuid.uuid4())
    stranger = client.get(url, headers=as_stranger)
    assert stranger.status_code == client.get(f"/api/events/{unknown}").status_code == 404
    assert stranger.text.replace(events[1]["event_id"], unknown) == client.get(f"/api/events/{unknown}").text


def test_the_documentation_of_events_is_true(client, told_run):
    page = client.get(f"/api/assistant-runs/{told_run.id}/events").json()
    assert EventPage.model_validate(page).model_dump(mode="json") == page
    event = client.get(f"/api/events/{page['events'][0]['event_id']}").json()
    assert EventView.model_validate(event).model_dump(mode="json") == event
