"""Webhooks of structures."""

import uuid
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from shared.models import Run


@pytest.fixture
def structure(client):
    return client.post("/api/structures", json={"name": "hooked", "webhook_enabled": True}).json()


@pytest.fixture
def invoke(client, secret, structure):
    """Call a webhook as one who has nothing but its address."""
    del client.headers["Authorization"]

    def invoke(method="POST", key=secret, structure_id=structure["structure_id"], **request):
        url = f"/api/structures/{structure_id}/webhook"
        return client.request(method, f"{url}?{urlencode({'api_key': key})}" if key else url, **request)

    return invoke


@pytest.fixture
def runs(sessions):
    """The arguments of all runs, in order."""

    def runs():
        with sessions() as session:
            return session.scalars(select(Run.args).order_by(Run.created_at)).all()

    return runs


BODIES = [b'{"action": "opened"}', b"payload=%7B%7D&x=1", "Grüße\n".encode(), b"[", b"null"]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", None])
def test_the_body_is_the_argument_as_it_came(invoke, structure, runs, dispatcher, body, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = invoke(content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, structure)
    assert runs() == [[body.decode()]]
    assert len(dispatcher.enqueued) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_body_there_is_no_argument(invoke, structure, runs, method):
    answer = invoke(method)
    assert (answer.status_code, answer.json()) == (200, structure)
    assert runs() == [[]]


def test_one_key_makes_one_run(invoke, runs):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    answers = [invoke(content=b"once", headers=headers).status_code for _ in range(2)]
    assert (answers, runs()) == ([200, 200], [["once"]])
    assert invoke(content=b"another", headers=headers).status_code == 409


def test_a_webhook_that_is_not_enabled_is_refused(client, secret, invoke, runs):
    headers = {"Authorization": f"Bearer {secret}"}
    other = client.post("/api/structures", json={"name": "closed"}, headers=headers).json()["structure_id"]
    answer = invoke(structure_id=other)
    assert (answer.status_code, answer.json()["type"]) == (403, "Forbidden")
    assert runs() == []


@pytest.mark.parametrize("key", [None, "", "ry_wrong", "\x00"])
def test_without_a_valid_key_there_is_no_webhook(invoke, runs, key):
    assert invoke(key=key).status_code == 401
    assert runs() == []


def test_another_organizations_is_unknown(invoke, factories, runs):
    _, theirs = factories.principal_and_secret()
    assert invoke(key=theirs).status_code == 404
    assert invoke(structure_id="x").status_code == 404
    assert runs() == []


@pytest.mark.parametrize("body", [b"\xff", b"a\x00b"])
def test_a_body_that_is_no_argument_is_a_400(invoke, runs, body):
    assert invoke(content=body).status_code == 400
    assert runs() == []


def test_the_key_opens_nothing_else_from_a_query(client, secret, invoke, structure):
    for path in ("", "/runs", "/deployments"):
        url = f"/api/structures/{structure['structure_id']}{path}"
        assert client.get(url, params={"api_key": secret}).status_code == 401
