"""Threads of the watsonx Orchestrate dialect, and their messages: each is a side of one of our exchanges."""

import json
import uuid
from datetime import timedelta

import pytest

from shared.db import unit_of_work
from shared.lifecycle import Trigger
from shared.models import Run


def test_a_thread_is_made_changed_listed_by_its_agent_and_deleted(client, agent):
    answer = client.post("/v1/threads", json={"title": "Ilium", "agent_id": agent})
    assert answer.status_code == 201
    thread_id = answer.json()["thread_id"]
    assert answer.headers["location"] == f"/threads/{thread_id}"
    assert client.patch(f"/v1/threads/{thread_id}", json={"title": "Dresden"}).json()["title"] == "Dresden"
    (listed,) = client.get("/v1/threads", params={"agent_id": agent}).json()
    assert (listed["id"], listed["agent_id"], listed["status"]) == (thread_id, agent, "ready")
    assert client.get("/v1/threads", params={"agent_id": str(uuid.uuid4())}).json() == []
    assert client.get(f"/v1/orchestrate/threads/{thread_id}").json()["id"] == thread_id
    assert client.delete(f"/v1/threads/{thread_id}").status_code == 204
    assert client.get(f"/v1/threads/{thread_id}").status_code == 404


def test_a_thread_that_was_made_for_no_agent_is_that_of_its_first_run(
    client, create, agent, make_assistant, sessions
):
    thread_id = client.post("/v1/threads", json={"title": "Ilium"}).json()["thread_id"]
    assert client.get(f"/v1/threads/{thread_id}").json()["agent_id"] is None
    create(thread_id=thread_id)
    later = create(thread_id=thread_id, agent_id=str(make_assistant().id))["run_id"]
    with unit_of_work(sessions) as session:  # the clock stands still in a test
        session.get_one(Run, uuid.UUID(later)).created_at += timedelta(seconds=1)
    new_thread_id = create()["thread_id"]
    listed = {thread["id"]: thread["agent_id"] for thread in client.get("/v1/threads").json()}
    assert listed == {thread_id: agent, new_thread_id: agent}
    for listed_id in listed:
        thread = client.get(f"/v1/threads/{listed_id}").json()
        assert (thread["agent_id"], thread["assistant_id"]) == (agent, agent)
    assert client.patch(f"/v1/threads/{thread_id}", json={"title": "Dresden"}).json()["agent_id"] == agent


@pytest.mark.parametrize("agent_id", ["x", "%00", "a" * 300])
def test_an_agent_that_is_no_id_is_refused(client, agent_id):
    assert client.get(f"/v1/threads?agent_id={agent_id}").status_code == 422
    assert client.get("/v1/threads?agent_id=").status_code == 200


@pytest.fixture
def thread(client):
    """The URL of a new thread's messages."""
    thread_id = client.post("/v1/threads", json={"title": "Ilium"}).json()["thread_id"]
    return f"/v1/threads/{thread_id}/messages"


@pytest.fixture
def say(client, thread):
    def say(role, content, **headers):
        answer = client.post(thread, json={"role": role, "content": content}, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return say


@pytest.fixture
def told(client, thread):
    """The thread, as (who, what)."""
    return lambda: [(one["role"], one["content"][0]["text"]) for one in client.get(thread).json()]


def test_messages_are_added_one_by_one_in_the_order_they_come(say, told):
    said = [
        ("assistant", "Welcome."),
        ("user", "One"),
        ("user", "Two"),
        ("assistant", "Three"),
        ("assistant", "Four"),
        ("user", "Five"),
    ]
    for role, text in said:
        say(role, text)
    assert told() == said


def test_a_message_is_given_as_it_will_be_read(client, say, thread):
    asked = say(
        "human", [{"response_type": "text", "text": "One"}, {"response_type": "image"}, {"text": "Two"}]
    )
    answered = say("assistant", "Three")
    assert (asked["role"], asked["content"]) == ("user", [{"response_type": "text", "text": "One\nTwo"}])
    assert answered["parent_message_id"] == asked["id"]
    assert asked["parent_message_id"] is None
    assert asked["step_history"] == answered["step_history"] == []
    listed = client.get(thread).json()
    assert [one["id"] for one in listed] == [asked["id"], answered["id"]]
    for one in listed:
        assert client.get(f"{thread}/{one['id']}").json() == one


def test_a_message_is_changed_and_the_other_side_of_its_exchange_stays(client, say, thread, told):
    asked, answered = say("user", "One"), say("assistant", "Two")
    changed = client.patch(f"{thread}/{answered['id']}", json={"content": "Too"})
    assert (changed.status_code, changed.json()["content"][0]["text"]) == (200, "Too")
    assert client.patch(f"{thread}/{asked['id']}", json={}).json()["content"][0]["text"] == "One"
    assert told() == [("user", "One"), ("assistant", "Too")]


def test_of_an_exchange_one_message_is_deleted_and_then_the_other(client, say, thread, told):
    asked, answered = say("user", "One"), say("assistant", "Two")
    assert client.delete(f"{thread}/{asked['id']}").status_code == 204
    assert told() == [("assistant", "Two")]
    assert client.get(f"{thread}/{asked['id']}").status_code == 404
    assert client.get(f"{thread}/{answered['id']}").json()["parent_message_id"] is None
    assert client.delete(f"{thread}/{answered['id']}").status_code == 204
    assert client.get(thread).json() == []


def test_a_message_that_is_sent_again_under_its_key_is_one(say, told):
    first = say("user", "One", **{"Idempotency-Key": "once"})
    assert say("user", "One", **{"Idempotency-Key": "once"}) == first
    assert told() == [("user", "One")]


def test_the_griptape_dialect_reads_them_as_exchanges_of_artifacts(client, say, thread):
    say("user", "One")
    (exchange,) = client.get(thread.replace("/v1/", "/api/", 1)).json()["messages"]
    assert json.loads(exchange["input"])["value"] == "One"
    assert json.loads(exchange["output"])["value"] == ""
    say("assistant", "Two")
    (exchange,) = client.get(thread.replace("/v1/", "/api/", 1)).json()["messages"]
    assert json.loads(exchange["output"])["value"] == "Two"


def test_a_run_of_another_organization_lends_nothing_to_a_message_that_names_it(
    client, create, move, as_stranger, agent
):
    run_id = create()["run_id"]
    move(run_id, Trigger.CLAIM, Trigger.START, Trigger.SUCCEED)
    exchange = {"input": "a", "output": "b", "metadata": {"run_id": run_id}}
    theirs = client.post(
        "/api/threads", json={"name": "x", "messages": [exchange]}, headers=as_stranger
    ).json()
    url = f"/v1/threads/{theirs['thread_id']}/messages"
    assert [one["step_history"] for one in client.get(url, headers=as_stranger).json()] == [[], []]


@pytest.mark.parametrize(
    "body", [{}, {"role": "system", "content": "x"}, {"role": "user"}, {"role": "user", "content": 5}]
)
def test_what_is_no_message_is_a_422(client, thread, body):
    assert client.post(thread, json=body).status_code == 422


DEEP = '{"type": "TextArtifact", "value": %s}' % ("[" * 1000 + "]" * 1000)


@pytest.mark.parametrize(
    "odd",
    [
        *(
            {"input": "Listen", "output": "So", "metadata": {"lone": lone}}
            for lone in ([], {}, ["user"], 1, "x")
        ),
        {"input": DEEP, "output": DEEP},
        {"input": "Listen", "output": "So", "metadata": {"run_id": {"of": []}}},
    ],
    ids=["list", "object", "list of a role", "number", "no role", "deep", "run_id"],
)
def test_an_odd_message_of_the_other_dialect_hides_no_other(client, thread, say, odd):
    say("user", "Before")
    other = thread.replace("/v1/", "/api/")
    assert client.post(other, json=odd).status_code == 201
    say("assistant", "After")
    listed = client.get(thread)
    assert listed.status_code == 200, listed.text
    texts = [message["content"][0]["text"] for message in listed.json()]
    assert texts == ["Before", odd["input"], odd["output"], "After"]
    for message in listed.json():
        assert client.get(f"{thread}/{message['id']}").json() == message
