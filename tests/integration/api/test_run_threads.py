"""Runs on threads over HTTP."""

import uuid

import pytest

from shared.lifecycle import RunStatus


@pytest.fixture
def create_thread(client):
    def create_thread(headers=None, **fields):
        answer = client.post("/api/threads", json={"name": "talk", **fields}, headers=headers)
        return answer.json()["thread_id"]

    return create_thread


def count_threads(client):
    return client.get("/api/threads").json()["pagination"]["total_count"]


def test_a_run_shows_the_thread_it_is_on(create_run, create_thread, client):
    thread = create_thread()
    run = create_run(thread_id=thread.upper(), input="Hi").json()
    assert run["thread_id"] == thread
    assert client.get(f"/api/assistant-runs/{run['assistant_run_id']}").json()["thread_id"] == thread


def test_a_run_may_have_a_thread_made_for_it(create_run, client):
    first, second = (create_run(new_thread=True).json()["thread_id"] for _ in range(2))
    assert first != second
    thread = client.get(f"/api/threads/{first}").json()
    assert (thread["alias"], thread["message_count"]) == ("", 0)
    assert thread["name"]


def test_a_named_thread_wins_over_a_new_one(create_run, create_thread, client):
    thread = create_thread()
    assert create_run(thread_id=thread, new_thread=True).json()["thread_id"] == thread
    assert count_threads(client) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"thread_id": ""},
        {"thread_id": None},
        {"new_thread": False},
        {"new_thread": None, "thread_id": ""},
        {"create_new_thread": True},
    ],
)
def test_a_run_needs_no_thread(create_run, client, fields):
    answer = create_run(**fields)
    assert answer.status_code == 201
    assert "thread_id" not in answer.json()
    assert count_threads(client) == 0


def test_an_empty_thread_does_not_win_over_a_new_one(create_run):
    assert create_run(thread_id="", new_thread=True).json()["thread_id"]


def test_another_organizations_thread_is_as_unknown_as_any(create_run, create_thread, as_stranger, client):
    theirs, unknown = create_thread(headers=as_stranger), str(uuid.uuid4())
    answers = [create_run(thread_id=thread, new_thread=True) for thread in (theirs, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(theirs, unknown) == answers[1].text
    assert answers[0].json()["errors"][0]["type"] == "ThreadNotFound"
    assert count_threads(client) == 0


def test_a_run_that_waits_says_so_and_is_sent_when_its_turn_comes(
    create_run, create_thread, client, dispatcher
):
    thread = create_thread()
    first, second = (create_run(thread_id=thread).json() for _ in range(2))
    assert "status_detail" not in first
    assert (second["status"], second["status_detail"]["reason"]) == ("QUEUED", "WaitingForThread")
    assert [str(run_id) for run_id, _ in dispatcher.enqueued] == [first["assistant_run_id"]]
    client.post(f"/api/assistant-runs/{first['assistant_run_id']}/cancel")
    assert str(dispatcher.enqueued[-1][0]) == second["assistant_run_id"]
    now = client.get(f"/api/assistant-runs/{second['assistant_run_id']}").json()
    assert now["status"] == "QUEUED"
    assert now.get("status_detail", {}).get("reason") != "WaitingForThread"


def test_a_run_that_waits_can_be_cancelled(create_run, create_thread, client, dispatcher):
    thread = create_thread()
    first, second = (create_run(thread_id=thread).json()["assistant_run_id"] for _ in range(2))
    assert client.post(f"/api/assistant-runs/{second}/cancel").json()["status"] == "CANCELLED"
    assert [str(run_id) for run_id, _ in dispatcher.enqueued] == [first]


def test_deleting_a_thread_lets_those_go_that_wait_for_it(create_run, create_thread, client, dispatcher):
    thread = create_thread()
    runs = [create_run(thread_id=thread).json()["assistant_run_id"] for _ in range(3)]
    assert client.delete(f"/api/threads/{thread}").status_code == 204
    assert {str(run_id) for run_id, _ in dispatcher.enqueued} == set(runs)
    for run in runs:
        shown = client.get(f"/api/assistant-runs/{run}").json()
        assert "thread_id" not in shown
        assert shown.get("status_detail", {}).get("reason") != "WaitingForThread"


def test_runs_that_wait_are_listed_as_queued(client, make_assistant, make_run, create_thread):
    assistant, thread = make_assistant(), uuid.UUID(create_thread())
    for _ in range(2):
        make_run(assistant=assistant, thread_id=thread)
    make_run(assistant=assistant, status=RunStatus.RUNNING)
    answer = client.get(f"/api/assistants/{assistant.id}/runs?status=QUEUED").json()
    details = [run.get("status_detail", {}).get("reason") for run in answer["assistant_runs"]]
    assert sorted(map(str, details)) == ["None", "WaitingForThread"]
