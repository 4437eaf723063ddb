"""`Idempotency-Key` on every create."""

import dataclasses
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from shared.idempotency.service import KEY_TTL, forget_expired
from shared.models import IdempotencyKey, Run
from tests.integration.api.serving import serving

KEY = "Idempotency-Key"

BODIES = {
    "assistants": {"name": "x"},
    "structures": {"name": "x"},
    "threads": {"name": "x"},
    "rulesets": {"name": "x"},
    "rules": {"name": "x", "rule": "x"},
    "organizations": {"name": "x"},
}


@pytest.fixture
def create(client):
    """Create a resource under a key of the caller's, `again` with other headers or another body."""

    def create(path, key, body=None, **headers):
        return client.post(f"/api/{path}", json=body, headers={KEY: key, **headers})

    return create


@pytest.fixture
def age(sessions):
    """Let every key grow older."""

    def age(by):
        with sessions.begin() as session:
            session.execute(update(IdempotencyKey).values(created_at=IdempotencyKey.created_at - by))

    return age


@pytest.fixture
def runs_path(make_assistant):
    return f"assistants/{make_assistant().id}/runs"


def test_a_run_sent_again_is_the_same_run_and_is_dispatched_once(create, dispatcher, runs_path):
    first, again = (create(runs_path, "one", {"input": "Hi"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert len(dispatcher.enqueued) == 1


def test_a_run_sent_again_shows_where_it_is_now(create, client, runs_path):
    run_id = create(runs_path, "one").json()["assistant_run_id"]
    client.post(f"/api/assistant-runs/{run_id}/cancel")
    again = create(runs_path, "one")
    assert (again.status_code, again.json()["assistant_run_id"]) == (201, run_id)
    assert again.json()["status"] == "CANCELLED"


@pytest.mark.parametrize("path", sorted(BODIES))
def test_every_create_makes_one_thing_for_a_key(create, path):
    first, again = (create(path, "one", BODIES[path]) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


def test_a_message_is_added_once(create, client):
    thread_id = create("threads", "thread", {"name": "x"}).json()["thread_id"]
    path = f"threads/{thread_id}/messages"
    first, again = (create(path, "message", {"input": "a", "output": "b"}) for _ in range(2))
    assert again.json() == first.json()
    assert client.get(f"/api/{path}").json()["pagination"]["total_count"] == 1


def test_a_structure_is_deployed_once(create, client):
    path = f"structures/{create('structures', 'structure', {'name': 'x'}).json()['structure_id']}/deployments"
    first, again = (create(path, "deployment", {"force": True}) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert client.get(f"/api/{path}").json()["pagination"]["total_count"] == 2  # one came with the structure
    assert create(path, "deployment", {}).status_code == 409


def test_a_secret_is_not_shown_again(create, client):
    user_id = client.get("/api/users").json()["users"][0]["user_id"]
    path = f"users/{user_id}/api-keys"
    first, again = (create(path, "one", {"name": "x"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 409)
    assert first.json()["api_key_id"] in again.text
    assert first.json()["value"] not in again.text


def makes_something(responses):
    """Whether an operation answers with what it has made: a 202 without a body makes nothing to be found."""
    return "201" in responses or "content" in responses.get("202", {})


def test_every_create_documents_the_header(client):
    document = client.get("/openapi.json").json()
    creates = {
        path: {parameter["name"].lower() for parameter in item["post"].get("parameters", ())}
        for path, item in document["paths"].items()
        if makes_something(item.get("post", {}).get("responses", {}))
    }
    assert len(creates) == 12
    assert {path for path, names in creates.items() if KEY.lower() not in names} == set()


def test_another_body_or_path_under_the_same_key_is_a_409(create, make_assistant, runs_path):
    create(runs_path, "one", {"input": "a"})
    other_body = create(runs_path, "one", {"input": "b"})
    other_path = create(f"assistants/{make_assistant().id}/runs", "one", {"input": "a"})
    assert (other_body.status_code, other_path.status_code) == (409, 409)
    assert other_body.json()["errors"][0]["message"] == "This Idempotency-Key was used for another request."


def test_a_key_belongs_to_one_organization(create, as_stranger):
    ours = create("rules", "one", BODIES["rules"])
    theirs = create("rules", "one", {"name": "y", "rule": "y"}, **as_stranger)
    assert theirs.status_code == 201
    assert theirs.json()["rule_id"] != ours.json()["rule_id"]


def test_a_failed_create_leaves_its_key_free(create, runs_path):
    assert create(f"assistants/{uuid.uuid4()}/runs", "one").status_code == 404
    assert create(runs_path, "one", {"ruleset_ids": [str(uuid.uuid4())]}).status_code == 400
    assert create(runs_path, "one").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", b"\xe4"])
def test_a_key_that_is_none_is_a_400(client, key):
    answer = client.post("/api/rules", json=BODIES["rules"], headers={KEY: key})
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_a_key_is_forgotten_after_a_day(create, age):
    first = create("rules", "one", BODIES["rules"])
    age(KEY_TTL - timedelta(minutes=1))
    assert create("rules", "one", BODIES["rules"]).json() == first.json()
    age(timedelta(minutes=2))
    later = create("rules", "one", {"name": "y", "rule": "y"})
    assert later.status_code == 201
    assert later.json()["rule_id"] != first.json()["rule_id"]


def test_old_keys_are_deleted(create, age, sessions):
    create("rules", "old", BODIES["rules"])
    age(KEY_TTL + timedelta(minutes=1))
    create("rules", "new", BODIES["rules"])
    with sessions.begin() as session:
        assert forget_expired(session, limit=10) == 1
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]


def test_what_was_deleted_is_not_made_again(create, client):
    rule_id = create("rules", "one", BODIES["rules"]).json()["rule_id"]
    client.delete(f"/api/rules/{rule_id}")
    again = create("rules", "one", BODIES["rules"])
    assert again.status_code == 409
    assert rule_id in again.json()["errors"][0]["message"]
    assert client.get("/api/rules").json()["rules"] == []


def test_a_create_without_a_key_writes_none(client, sessions):
    first, again = (client.post("/api/rules", json=BODIES["rules"]).json() for _ in range(2))
    assert first["rule_id"] != again["rule_id"]
    with sessions.begin() as session:
        assert session.scalars(select(IdempotencyKey)).all() == []


def test_concurrent_duplicates_make_one_run(
    committed_settings, committed_sessions, secret, dispatcher, make_assistant
):
    """Promise 1: what is accepted is accepted once, also when its caller repeats itself."""
    path = f"/api/assistants/{make_assistant().id}/runs"
    with serving(committed_settings, secret=secret) as served:  # once it has stopped, all sends are done
        state = served.server.config.app.state
        state.resources = dataclasses.replace(served.resources, dispatcher=dispatcher)
        with ThreadPoolExecutor(8) as threads:
            posts = [
                threads.submit(served.client.post, path, json={"input": "Hi"}, headers={KEY: "1"})
                for _ in range(16)
            ]
            answers = [post.result() for post in posts]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["assistant_run_id"] for answer in answers}) == 1
    assert len(dispatcher.enqueued) == 1
    with committed_sessions() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 1
