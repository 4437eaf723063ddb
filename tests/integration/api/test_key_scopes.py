"""What a key may do by its scope, in both dialects."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from api import key_scopes
from api.app import create_app
from shared.models import KeyScope
from tests.integration.api.openapi import DIALECTS, documents, operations

OF_RUN = ("runs", "threads", "messages", "webhook")
"""What the paths of endpoints have in them that a key with the scope `run` may call."""


def routes(router: Any) -> Iterator[APIRoute]:
    """All keyed routes of an application, also those of the routers and applications in it."""
    for route in router.routes:
        included = getattr(route, "original_router", None) or getattr(route, "app", None)
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(included, "routes"):
            yield from routes(included)


@pytest.fixture(scope="module")
def every(services):
    """The routes that are not only read."""
    found = list(routes(create_app(services.settings())))
    changing = [route for route in found if not route.methods <= key_scopes.SAFE_METHODS]
    assert len(changing) > 60
    return changing


@pytest.fixture
def key_of(client):
    """The headers of a new key of the client's organization, by its scope."""
    organization = client.get("/api/organizations").json()["organizations"][0]["organization_id"]

    def key_of(scope):
        answer = client.post(
            f"/api/organizations/{organization}/api-keys", json={"name": "x", "scope": scope}
        )
        assert (answer.status_code, answer.json()["scope"]) == (201, scope)
        return {"Authorization": f"Bearer {answer.json()['value']}"}

    return key_of


def test_every_route_that_changes_something_names_its_scope(every):
    unmarked = {route.name for route in every if key_scopes.marked_scope(route.endpoint) is None}
    assert unmarked == set()


def test_a_route_without_a_mark_takes_admin():
    def endpoint():
        """Do something."""

    assert key_scopes.needed_scope(endpoint, "POST") is KeyScope.ADMIN
    assert key_scopes.needed_scope(endpoint, "GET") is KeyScope.READ


@pytest.mark.parametrize("scope", [KeyScope.READ, KeyScope.RUN])
@pytest.mark.parametrize("prefix", DIALECTS.values(), ids=DIALECTS.keys())
def test_a_key_may_call_what_its_scope_includes_and_nothing_else(client, key_of, prefix, scope):
    """The 403 comes before ids and bodies are looked at."""
    headers = key_of(scope)
    document = documents()[prefix]
    called = 0
    for operation in operations(document, prefix):
        if operation.method in key_scopes.SAFE_METHODS or not operation.is_keyed:
            continue
        path = re.sub(r"{\w+}", str(uuid.uuid4()), operation.url)
        answer = client.request(operation.method, path, headers=headers)
        is_erasure = operation.method == "DELETE" and "-runs/" in path
        needs_run = any(word in path for word in OF_RUN) and not is_erasure
        may = scope is KeyScope.RUN and needs_run
        assert (answer.status_code != 403) is may, (operation.method, path, answer.text)
        called += 1
    assert called > 5


def test_each_dialect_refuses_in_its_own_shape(client, key_of):
    headers = key_of("read")
    said = "This takes a key with the scope `run`; the scope of this key is `read`."
    ours = client.post(f"/api/assistants/{uuid.uuid4()}/runs", headers=headers)
    assert ours.json() == {"type": "Forbidden", "errors": [{"type": "Forbidden", "message": said}]}
    theirs = client.post("/api/v1/orchestrate/runs", headers=headers)
    assert (theirs.status_code, theirs.json()) == (403, {"detail": said})


def test_a_webhook_that_is_read_still_takes_run(client, key_of):
    structure = client.post(
        "/api/structures", json={"name": "x", "webhook_enabled": True}, headers=key_of("admin")
    ).json()["structure_id"]
    path = f"/api/structures/{structure}/webhook"
    assert client.get(path, headers=key_of("read")).status_code == 403
    assert client.get(path, headers=key_of("run")).status_code == 200


def test_a_read_only_key_reads(client, key_of):
    headers = key_of("read")
    for path in ("assistants", "assistant-runs", "threads", "structures", "rulesets", "organizations"):
        assert client.get(f"/api/{path}", headers=headers).status_code == 200


def test_a_narrow_key_makes_no_wider_one(client, key_of, factories):
    user = factories.default_principal().user_id
    answer = client.post(f"/api/users/{user}/api-keys", json={"name": "x"}, headers=key_of("run"))
    assert answer.status_code == 403


def test_a_scope_that_is_none_is_refused(client, factories):
    user = factories.default_principal().user_id
    answer = client.post(f"/api/users/{user}/api-keys", json={"name": "x", "scope": "all"})
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "body.scope")


def test_a_key_may_do_everything_unless_its_maker_says_less(client, factories):
    user = factories.default_principal().user_id
    assert client.post(f"/api/users/{user}/api-keys", json={"name": "x"}).json()["scope"] == "admin"
