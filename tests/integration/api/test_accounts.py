"""Users and organizations over HTTP."""

import uuid

import pytest

from shared.db import unit_of_work
from shared.keys.service import create_key
from shared.lifecycle import RunStatus
from shared.models import Assistant
from shared.organizations import admin

ORGANIZATION = {
    *("organization_id", "name", "description", "default_bucket_id", "entitlement"),
    *("created_by", "created_at", "updated_at"),
}


@pytest.fixture
def me(client, factories):
    return factories.default_principal()


@pytest.fixture
def own(me):
    return f"/api/organizations/{me.organization_id}"


@pytest.fixture
def colleague(me, sessions):
    """Another member of my organization, who has one of their own, too; and their key there."""
    with unit_of_work(sessions) as session:
        elsewhere = admin.create_organization(session, "elsewhere").id
        user_id = admin.ensure_member(session, elsewhere, "zoe@example.com").id
        admin.ensure_member(session, me.organization_id, "zoe@example.com")
        _, secret = create_key(session, organization_id=elsewhere, user_id=user_id, name="theirs")
    return str(user_id), str(elsewhere), {"Authorization": f"Bearer {secret}"}


def test_the_users_are_those_of_the_keys_organization(client, me, colleague):
    users = client.get("/api/users").json()
    assert set(users) == {"users"}
    mine = next(user for user in users["users"] if user["user_id"] == str(me.user_id))
    assert set(mine) == {"user_id", "email", "name", "organizations", "created_at", "updated_at"}
    assert (mine["email"], mine["organizations"]) == (me.name, [str(me.organization_id)])
    assert {user["user_id"] for user in users["users"]} == {str(me.user_id), colleague[0]}
    assert client.get(f"/api/users/{me.user_id}").json() == mine


def test_of_a_colleague_only_the_organizations_we_share_are_told(client, me, colleague):
    user_id, elsewhere, as_colleague = colleague
    assert client.get(f"/api/users/{user_id}").json()["organizations"] == [str(me.organization_id)]
    assert set(client.get(f"/api/users/{user_id}", headers=as_colleague).json()["organizations"]) == {
        str(me.organization_id),
        elsewhere,
    }
    assert client.get(f"/api/users/{me.user_id}", headers=as_colleague).status_code == 404


def test_the_organizations_are_those_of_the_keys_user(client, me, own, colleague):
    organizations = client.get("/api/organizations").json()
    assert set(organizations) == {"organizations"}
    (mine,) = organizations["organizations"]
    assert set(mine) == ORGANIZATION
    assert (mine["description"], mine["entitlement"]) == ("", "FREE")
    assert str(uuid.UUID(mine["default_bucket_id"])) == mine["default_bucket_id"]
    assert client.get(own).json() == mine
    theirs = client.get("/api/organizations", headers=colleague[2]).json()["organizations"]
    assert {item["organization_id"] for item in theirs} == {str(me.organization_id), colleague[1]}


def test_the_users_of_an_organization_come_in_pages(client, me, own, colleague):
    members = client.get(f"{own}/users").json()
    assert members["users"] == [
        {"user_id": str(me.user_id), "email": me.name},
        {"user_id": colleague[0], "email": "zoe@example.com"},
    ]
    assert members["pagination"]["total_count"] == 2
    page = client.get(f"{own}/users?page=2.0&page_size=1.0").json()
    assert [user["user_id"] for user in page["users"]] == [colleague[0]]
    assert page["pagination"]["previous_page"] == 1


def test_a_new_organization_is_its_makers(client, me, as_stranger):
    answer = client.post("/api/organizations", json={"name": "new", "description": "d", "colour": 1})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["name"], made["description"], made["created_by"]) == ("new", "d", str(me.user_id))
    url = f"/api/organizations/{made['organization_id']}"
    assert client.get(url).json() == made
    assert [user["user_id"] for user in client.get(f"{url}/users").json()["users"]] == [str(me.user_id)]
    assert client.get(url, headers=as_stranger).status_code == 404
    assert client.post("/api/organizations", json={"name": "n", "description": None}).status_code == 201


def test_an_organization_is_changed_in_what_is_named(client, own):
    before = client.get(own).json()
    changed = client.patch(own, json={"name": "new", "colour": 1})
    assert changed.status_code == 200
    assert changed.json() == before | {"name": "new", "updated_at": changed.json()["updated_at"]}
    models = {"default_chat_model": "openai/gpt-5", "default_rerank_model": "x"}
    assert client.patch(own, json={"model_config": models}).json()["model_config"] == models
    assert client.get("/api/organizations").json()["organizations"][0]["model_config"] == models
    for content in (b"", b"null", b"{}", b'{"name": null, "model_config": null}'):
        assert client.patch(own, content=content).json()["model_config"] == models
    assert client.patch(own, json={"model_config": {}}).json()["model_config"] == {}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "n" * 201}, "body.name"),
        ({"name": "\x00"}, "body.name"),
        ({"name": ["x"]}, "body.name"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(client, own, fields, path):
    before = client.get("/api/organizations").json()
    for method, url in [("POST", "/api/organizations"), ("PATCH", own)]:
        answer = client.request(method, url, json=fields)
        assert answer.status_code == 400
        assert [item["path"] for item in answer.json()["errors"]] == [path]
    wrong = {"model_config": {"default_chat_model": 5}}
    assert client.patch(own, json=wrong).status_code == 400
    assert client.get("/api/organizations").json() == before


@pytest.mark.parametrize("status", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_an_organization_at_work_cannot_be_deleted(client, own, make_run, status):
    run = make_run(status=status)
    answer = client.delete(own)
    assert (answer.status_code, answer.json()["type"]) == (409, "Conflict")
    client.post(f"/api/assistant-runs/{run.id}/cancel")
    assert client.get(f"/api/assistants/{run.assistant_id}").status_code == 200


@pytest.mark.parametrize("setting_overrides", [{"key_cache_ttl": 1e-6}])
def test_a_deleted_organization_is_gone_with_everything(client, own, me, make_run, sessions):
    run = make_run(status=RunStatus.SUCCEEDED)
    client.post("/api/threads", json={"name": "t", "messages": [{"input": "a", "output": "b"}]})
    rule = client.post("/api/rules", json={"name": "r", "rule": "r"}).json()["rule_id"]
    client.post("/api/rulesets", json={"name": "s", "rule_ids": [rule]})
    answer = client.delete(own)
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get("/api/organizations").status_code == 401
    with sessions() as session:
        assert session.get(Assistant, run.assistant_id) is None
