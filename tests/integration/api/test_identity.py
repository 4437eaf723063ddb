"""Nobody becomes another: keys, organizations, and the keys of runs."""

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute

from api import run_keys
from api.app import create_app
from api.auth import KeyCache
from api.traffic.admission import Gate
from api.traffic.budget import Budget
from shared.db import unit_of_work
from shared.errors import OrganizationNotFoundError
from shared.keys import service as keys
from shared.keys.service import create_run_key, new_secret
from shared.lifecycle import RunStatus
from shared.models import Organization, Role, Run, RunScope, Structure
from shared.organizations import admin, quotas
from shared.organizations.queries import require_owner
from tests.support.waiting import wait_until


def bearing(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def me(client, factories):
    return factories.default_principal()


@pytest.fixture
def join(sessions, me):
    """Let a user into an organization, mine by default; return the user's id and a key there."""

    def join(email, *, role=Role.MEMBER, organization_id=None):
        place = organization_id or me.organization_id
        with unit_of_work(sessions) as session:
            user = admin.ensure_member(session, place, email, role=role)
            key, secret = keys.create_key(session, organization_id=place, user_id=user.id, name="theirs")
            return str(user.id), str(key.id), bearing(secret)

    return join


@pytest.fixture
def elsewhere(sessions):
    with unit_of_work(sessions) as session:
        return admin.create_organization(session, f"elsewhere {uuid.uuid4()}").id


def test_nobody_gets_a_key_of_a_colleague_and_so_none_of_the_colleagues_other_organizations(
    client, me, join, elsewhere
):
    colleague, _, as_colleague = join("zoe@example.com", role=Role.OWNER)
    join("zoe@example.com", organization_id=elsewhere)
    _, _, as_member = join("max@example.com")
    for headers in (None, as_member):  # an owner, and a member
        answer = client.post(f"/api/users/{colleague}/api-keys", json={"name": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "Forbidden")
    own = client.post(f"/api/users/{colleague}/api-keys", json={"name": "x"}, headers=as_colleague)
    assert own.status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api-keys", None),
        ("POST", "/api-keys", {"name": "x"}),
        ("GET", "/users", None),
        ("PATCH", "", {"name": "taken over"}),
        ("DELETE", "", None),
    ],
)
def test_it_takes_a_key_of_an_organization_to_act_on_it(
    client, join, elsewhere, sessions, method, path, body
):
    """Although the key's user owns that one, too: who has the key of one has not the other."""
    join("zoe@example.com", organization_id=elsewhere, role=Role.OWNER)
    _, _, headers = join("zoe@example.com", role=Role.OWNER)
    answer = client.request(method, f"/api/organizations/{elsewhere}{path}", json=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "Forbidden")
    with sessions() as session:
        assert session.get_one(Organization, elsewhere).name != "taken over"


def test_the_key_that_makes_an_organization_makes_its_first_key_and_none_after_it(client, me):
    made = client.post("/api/organizations", json={"name": "new"}).json()
    url = f"/api/organizations/{made['organization_id']}"
    other = client.post(f"/api/users/{me.user_id}/api-keys", json={"name": "x"}).json()["value"]
    assert client.post(f"{url}/api-keys", json={"name": "x"}, headers=bearing(other)).status_code == 403
    first = client.post(f"{url}/api-keys", json={"name": "first"})
    assert first.status_code == 201
    assert client.post(f"{url}/api-keys", json={"name": "second"}).status_code == 403
    assert client.patch(url, json={"name": "x"}).status_code == 403
    assert client.patch(url, json={"name": "x"}, headers=bearing(first.json()["value"])).status_code == 200


def test_only_an_owner_changes_or_deletes_an_organization(client, me, join):
    _, _, as_member = join("max@example.com")
    url = f"/api/organizations/{me.organization_id}"
    for method, body in (("PATCH", {"name": "x"}), ("DELETE", None)):
        assert client.request(method, url, json=body, headers=as_member).status_code == 403
    assert client.get(url, headers=as_member).status_code == 200
    assert client.patch(url, json={"name": "x"}).status_code == 200


def test_an_organization_that_was_deleted_meanwhile_is_unknown_and_not_forbidden(sessions, me):
    """Whoever deletes it second has read it before the first was done."""
    with sessions() as session, pytest.raises(OrganizationNotFoundError):
        require_owner(session, me.user_id, organization_id=uuid.uuid4(), otherwise="Only an owner.")


def test_a_member_sees_and_manages_the_own_keys_alone_and_an_owner_all(client, me, join):
    member, key_id, as_member = join("max@example.com")
    listed = client.get(f"/api/organizations/{me.organization_id}/api-keys", headers=as_member).json()
    assert {key["api_key_id"] for key in listed["api_keys"]} == {key_id}
    assert listed["pagination"]["total_count"] == 1
    mine = f"/api/api-keys/{me.key_id}"
    for method in ("GET", "PATCH", "DELETE"):
        assert client.request(method, mine, json={"name": "x"}, headers=as_member).status_code == 404
    assert client.get(f"/api/users/{me.user_id}/api-keys", headers=as_member).status_code == 403
    assert client.get(f"/api/users/{member}/api-keys").status_code == 200
    assert client.delete(f"/api/api-keys/{key_id}").status_code == 204


@pytest.fixture
def run_key(client, factories, sessions):
    """A running structure run of a scope, and the headers of its key."""

    def run_key(scope=RunScope.OWN) -> tuple[Run, dict[str, str]]:
        run = factories.structure_run(status=RunStatus.RUNNING)
        with unit_of_work(sessions) as session:
            session.get_one(Structure, run.structure_id).run_scope = scope
            return run, bearing(create_run_key(session, session.get_one(Run, run.id)))

    return run_key


def routes(router: Any) -> Iterator[APIRoute]:
    """All routes of an application, also those of the routers and applications in it."""
    for route in router.routes:
        included = getattr(route, "original_router", None) or getattr(route, "app", None)
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(included, "routes"):  # not a plain page, such as that of the documentation
            yield from routes(included)


OPEN = {
    *("create_events", "create_spans", "complete_structure_run"),
    *(
        "get_structure_run",
        "list_events",
        "stream_structure_run_events",
        "list_structure_run_logs",
        "list_spans",
    ),
    *("create_structure_run", "list_structure_runs", "list_called_structure_runs"),
    *("create_assistant_run", "list_assistant_runs", "get_assistant_run"),
    *("list_assistant_events", "stream_assistant_run_events"),
    *("run_assistant", "create_run", "create_run_and_stream", "list_runs", "get_run", "get_run_events"),
}


def test_what_is_open_to_the_keys_of_runs_is_just_this(settings):
    """A new route is closed to them, unless somebody decides otherwise here."""
    every = list(routes(create_app(settings)))
    assert len(every) > 60
    assert {route.name for route in every if run_keys.access_of(route.endpoint)} == OPEN


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/structures"),
        ("GET", "/api/structures/{structure}"),
        ("PATCH", "/api/structures/{structure}"),
        ("DELETE", "/api/structures/{structure}"),
        ("POST", "/api/structures/{structure}/runs"),
        ("POST", "/api/structures/{structure}/runs/cancel"),
        ("GET", "/api/structures/{structure}/webhook"),
        ("POST", "/api/structure-runs/{other}/cancel"),
        ("POST", "/api/structure-runs/{own}/cancel"),
        ("GET", "/api/structure-runs/{other}"),
        ("GET", "/api/structure-runs/{other}/events"),
        ("GET", "/api/structure-runs/{other}/logs"),
        ("GET", "/api/structure-runs/{other}/spans"),
        ("GET", "/api/users"),
        ("GET", "/api/organizations"),
        ("POST", "/api/organizations"),
        ("GET", "/api/assistants"),
        ("POST", "/api/threads"),
        ("GET", "/api/v1/agents"),
        ("GET", "/v1/tools"),
        ("GET", "/api/v1/threads"),
        ("POST", "/api/v1/orchestrate/runs"),
        ("GET", "/v1/orchestrate/runs"),
    ],
)
def test_the_key_of_a_run_is_refused_where_it_has_no_business(client, factories, run_key, method, path):
    run, headers = run_key()
    other = factories.structure_run(status=RunStatus.RUNNING)
    url = path.format(structure=run.structure_id, own=run.id, other=other.id)
    answer = client.request(method, url, json={"name": "x"} if method != "GET" else None, headers=headers)
    assert answer.status_code == 403
    body = answer.json()
    assert "The key of a run may" in (body["detail"] if "/v1/" in url else body["errors"][0]["message"])


@pytest.mark.parametrize("below", ["", "/events", "/logs", "/spans"])
def test_the_key_of_a_run_reads_its_own_run(client, run_key, below):
    run, headers = run_key()
    assert client.get(f"/api/structure-runs/{run.id}{below}", headers=headers).status_code == 200


def test_with_the_scope_runs_it_starts_and_reads_runs_and_still_nothing_else(
    client, factories, run_key, make_assistant
):
    _, headers = run_key(RunScope.RUNS)
    other = factories.structure_run(status=RunStatus.RUNNING)
    made = client.post(f"/api/assistants/{make_assistant().id}/runs", json={"input": "Hi"}, headers=headers)
    assert made.status_code == 201
    made_id = made.json()["assistant_run_id"]
    started = client.post(f"/api/structures/{other.structure_id}/runs", json={"args": []}, headers=headers)
    assert started.status_code == 201
    for path in (
        f"assistant-runs/{made_id}",
        f"structure-runs/{other.id}",
        f"structure-runs/{other.id}/events",
    ):
        assert client.get(f"/api/{path}", headers=headers).status_code == 200
    for method, path in (
        ("POST", f"assistant-runs/{made_id}/cancel"),
        ("POST", f"structure-runs/{other.id}/cancel"),
        ("PATCH", f"structures/{other.structure_id}"),
        ("GET", f"structures/{other.structure_id}"),
        ("GET", "users"),
    ):
        assert client.request(method, f"/api/{path}", headers=headers).status_code == 403


@pytest.mark.parametrize("setting_overrides", [{"key_cache_ttl": 0.1, "stream_heartbeat": 0.5}])
@pytest.mark.parametrize("how", ["key", "user", "organization"])
def test_a_stream_ends_with_its_key(served, make_run, committed_sessions, factories, how):
    """Also with the user's place in the organization."""
    me = factories.default_principal()
    run = make_run(status=RunStatus.RUNNING)
    with served.stream(run.id) as reader:
        reader.take(3)
        with unit_of_work(committed_sessions) as session:
            if how == "key":
                admin.delete_key(session, me.key_id)
            elif how == "user":
                admin.remove_member(session, me.user_id, organization_id=me.organization_id)
            else:
                session.delete(session.get_one(Organization, me.organization_id))
        assert list(reader.frames()) == []


@pytest.mark.parametrize("setting_overrides", [{"key_cache_ttl": 0.1, "stream_heartbeat": 0.5}])
@pytest.mark.parametrize("path", ["/api/v1/orchestrate/runs/{}/events?stream_timeout=60000"])
def test_lines_of_the_other_dialect_end_with_their_key(served, make_run, committed_sessions, factories, path):
    run = make_run(status=RunStatus.RUNNING)
    with served.client.stream("GET", path.format(run.id)) as answer:
        lines = answer.iter_raw()
        next(lines)
        with unit_of_work(committed_sessions) as session:
            admin.delete_key(session, factories.default_principal().key_id)
        assert b"".join(lines).endswith(b"]")


@pytest.mark.parametrize("setting_overrides", [{"key_cache_ttl": 0.1}])
def test_a_wait_ends_with_its_key_as_a_401(served, make_run, committed_sessions, factories):
    run = make_run(status=RunStatus.RUNNING)
    watched = served.resources.key_watch
    answers: list[httpx2.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(served.client.get(f"/api/assistant-runs/{run.id}?wait=9"))
    )
    waiting.start()
    wait_until(lambda: watched._open, what="somebody to wait")
    with unit_of_work(committed_sessions) as session:
        admin.delete_key(session, factories.default_principal().key_id)
    waiting.join(30)
    assert [answer.status_code for answer in answers] == [401]
    assert not watched._open


@pytest.fixture
def looked_up(sessions):
    """Secrets that were looked up in PostgreSQL, and a cache that looks."""
    cache = KeyCache(sessions, ttl=timedelta(seconds=3))
    asked: list[str] = []
    look_up = cache._look_up
    cache._look_up = lambda secret: (asked.append(secret), look_up(secret))[1]  # type: ignore[method-assign]
    return cache, asked


GARBAGE = [
    "",
    "x",
    "ry_",
    "ry_" + "a" * 42,
    "ry_" + "a" * 49,
    "ry_" + "ä" * 43,
    "a" * 100_000,
    new_secret()[:-1] + "!",
]


@pytest.mark.parametrize("secret", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_cannot_be_a_key_is_not_looked_up(looked_up, secret):
    cache, _ = looked_up
    assert not await cache.is_worth_a_look(secret)


async def test_garbage_of_the_old_form_is_looked_up_only_while_there_are_old_keys(looked_up, me, sessions):
    cache, asked = looked_up
    old = "ry_" + "b" * 43
    assert not await cache.is_worth_a_look(old)
    assert asked == []
    with unit_of_work(sessions) as session:
        key, _ = keys.create_key(session, organization_id=me.organization_id, user_id=me.user_id, name="old")
        key.secret_sha256, key.has_checksum = keys.hash_secret(old), False
    cache._old_keys = (0.0, True)
    assert await cache.is_worth_a_look(old)
    found = await cache.find(old)
    assert found is not None
    assert found.user_id == me.user_id


@pytest.mark.parametrize(
    "setting_overrides", [{"max_keys": 2, "max_organizations": 1, "max_external_runs": 1}]
)
def test_nobody_makes_more_than_there_may_be(client, me, factories):
    """One key is the client's own."""
    structure = factories.structure()
    for path, body, room in (
        (f"users/{me.user_id}/api-keys", {"name": "x"}, 1),
        (f"organizations/{me.organization_id}/api-keys", {"name": "x"}, 0),
        ("organizations", {"name": "x"}, 1),
        (f"structures/{structure.id}/runs", {"execution": "external"}, 1),
    ):
        answers = [client.post(f"/api/{path}", json=body) for _ in range(room + 1)]
        assert [answer.status_code for answer in answers] == [201] * room + [409]
        assert answers[-1].json()["type"] == "Conflict"
        assert answers[-1].json()["errors"][0]["type"] == "LimitReached"
    assert client.post(f"/api/structures/{structure.id}/runs", json={}).status_code == 201


@pytest.mark.parametrize("setting_overrides", [{"max_stored_bytes": 10_000}])
def test_an_organization_stores_no_more_than_it_may(client, factories, make_assistant, monkeypatch):
    """What is under way can be told to its end for a while."""
    monkeypatch.setattr(quotas, "SUM_TTL", -1.0)
    run = factories.structure_run(is_external=True)
    assistant = make_assistant()

    def report(characters):
        event = {
            "type": "Said",
            "timestamp": 1,
            "payload": {"id": uuid.uuid4().hex, "text": "x" * characters},
        }
        return client.post(f"/api/structure-runs/{run.id}/events", json=event)

    def others():
        return [
            client.post(f"/api/{path}", json=body).status_code
            for path, body in (
                (f"assistants/{assistant.id}/runs", {"input": "Hi"}),
                (f"structures/{run.structure_id}/runs", {}),
                ("v1/orchestrate/runs", {"agent_id": str(assistant.id)}),
            )
        ]

    assert report(9_800).status_code == 202
    assert others() == [409, 409, 409]
    assert report(1_000).status_code == 202
    refused = report(1)
    assert (refused.status_code, refused.json()["errors"][0]["type"]) == (409, "LimitReached")
    monkeypatch.setattr(quotas, "_sums", {})


def test_the_organizations_that_a_tenant_makes_share_what_the_tenant_has(anonymous, client, me, monkeypatch):
    """A hundred organizations of one's own are no hundred shares of the API."""

    def made_with(secret):
        anonymous.headers["Authorization"] = f"Bearer {secret}"
        made = anonymous.post("/api/organizations", json={"name": "x"}).json()["organization_id"]
        key = anonymous.post(f"/api/organizations/{made}/api-keys", json={"name": "x"}).json()["value"]
        return uuid.UUID(made), key

    first, key_of_first = made_with(client.headers["Authorization"].removeprefix("Bearer "))
    second, key_of_second = made_with(key_of_first)
    groups = []
    for gate, name in ((Gate, "admit"), (Gate, "run"), (Budget, "holding")):
        method = getattr(gate, name)

        def noted(self, group, *args, method=method):
            groups.append(group)
            return method(self, group, *args)

        monkeypatch.setattr(gate, name, noted)
    for key, organization in ((key_of_first, first), (key_of_second, second)):
        groups.clear()
        anonymous.headers["Authorization"] = f"Bearer {key}"
        assert anonymous.post("/api/assistants", json={"name": "x"}).status_code == 201
        assert len(anonymous.get("/api/assistants").json()["assistants"]) == 1
        assert {me.organization_id} <= set(groups)
        assert organization not in groups
