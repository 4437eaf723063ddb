"""API keys over HTTP."""

import uuid

import pytest
from sqlalchemy import select

from shared.models import ApiKey
from tests.support.waiting import wait_until

KEY = {
    *("api_key_id", "name", "active", "scope", "organization_id"),
    *("created_by", "created_at", "last_used", "updated_at"),
}


@pytest.fixture
def me(client, factories):
    return factories.default_principal()


@pytest.fixture(params=["user", "organization"])
def keys(request, me):
    """Where keys are listed and made: both ways are the same."""
    ids = {"user": f"users/{me.user_id}", "organization": f"organizations/{me.organization_id}"}
    return f"/api/{ids[request.param]}/api-keys"


@pytest.fixture
def create(client, keys):
    def create(name="new", **fields):
        answer = client.post(keys, json={"name": name, **fields})
        assert answer.status_code == 201
        return answer.json()

    return create


def with_secret(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_a_new_key_shows_its_secret_this_once(client, create, keys, me, sessions):
    key = create(name="n" * 200, colour=1)
    secret = key.pop("value")
    assert set(key) == KEY
    assert (key["name"], key["active"]) == ("n" * 200, True)
    assert (key["organization_id"], key["created_by"]) == (str(me.organization_id), str(me.user_id))
    assert key["last_used"] == key["created_at"]
    url = f"/api/api-keys/{key['api_key_id']}"
    assert client.get(url).json() == key
    assert key in client.get(keys).json()["api_keys"]
    assert secret not in client.get(keys).text + client.get(url).text + client.patch(url, json={}).text
    with sessions() as session:
        rows = session.execute(select(ApiKey.__table__)).all()
    assert secret not in repr(rows)


def test_a_new_key_works_at_once(client, create, me):
    secret = create()["value"]
    users = client.get("/api/users", headers=with_secret(secret)).json()["users"]
    assert [user["user_id"] for user in users] == [str(me.user_id)]
    assert create()["value"] != secret


def test_keys_come_in_pages(client, create, keys):
    for number in range(4):
        create(name=str(number))
    pages = [client.get(f"{keys}?page={page}&page_size=2.0").json() for page in (1, 2, 3)]
    assert [len(page["api_keys"]) for page in pages] == [2, 2, 1]
    assert {key["name"] for page in pages for key in page["api_keys"]} == {"test", "0", "1", "2", "3"}
    assert pages[0]["pagination"].pop("next_cursor")
    assert pages[0]["pagination"] == {
        "page_number": 1,
        "page_size": 2,
        "total_count": 5,
        "total_pages": 3,
        "next_page": 2,
    }


def test_a_key_is_renamed(client, create):
    key = create()
    url = f"/api/api-keys/{key['api_key_id']}"
    answer = client.patch(url, json={"name": "renamed"})
    assert (answer.status_code, answer.json()["name"]) == (200, "renamed")
    for content in (b"", b"null", b"{}", b'{"name": null}', b'{"colour": 1}'):
        answer = client.patch(url, content=content)
        assert (answer.status_code, answer.json()["name"]) == (200, "renamed")
    assert client.get("/api/users", headers=with_secret(key["value"])).status_code == 200


@pytest.mark.parametrize("name", ["", "n" * 201, "\x00", 5, ["x"]])
def test_a_wrong_name_is_a_400_that_says_so(client, keys, me, name):
    for method, url in [("POST", keys), ("PATCH", f"/api/api-keys/{me.key_id}")]:
        answer = client.request(method, url, json={"name": name})
        assert answer.status_code == 400
        assert [item["path"] for item in answer.json()["errors"]] == ["body.name"]
    for content in (b"", b"null", b"{}", b'{"name": null}'):
        assert client.post(keys, content=content).status_code == 400


@pytest.mark.parametrize("setting_overrides", [{"key_cache_ttl": 0.05}])
def test_a_deleted_key_stops_working_within_the_time_it_is_cached(client, create):
    key = create()
    url, headers = f"/api/api-keys/{key['api_key_id']}", with_secret(key["value"])
    assert client.get("/api/users", headers=headers).status_code == 200
    answer = client.delete(url)
    assert (answer.status_code, answer.content) == (204, b"")
    wait_until(lambda: client.get("/api/users", headers=headers).status_code == 401)
    assert [client.request(method, url).status_code for method in ("GET", "PATCH", "DELETE")] == [404] * 3


def test_what_is_no_id_is_unknown(client):
    for identifier in ("x", "%00", "%ff", "0" * 33, str(uuid.uuid4())):
        for path in ("users/{}", "users/{}/api-keys", "organizations/{}/api-keys", "api-keys/{}"):
            answer = client.get(f"/api/{path.format(identifier)}")
            assert answer.status_code == 404
            assert "There is no such" in answer.json()["errors"][0]["message"]


def test_a_secret_is_no_id(client, secret):
    """One client probes its key by reading it as an id; it must not be told of."""
    assert client.get(f"/api/api-keys/{secret}").status_code == 404
