"""Threads over HTTP."""

import uuid

import pytest

FIELDS = {
    *("thread_id", "name", "alias", "metadata", "message_count", "messages_length"),
    *("organization_id", "created_by", "created_at", "updated_at"),
}


@pytest.fixture
def create(client):
    def create(**fields):
        answer = client.post("/api/threads", json={"name": "talk", **fields})
        assert answer.status_code == 201
        return answer.json()

    return create


def names(answer):
    assert answer.status_code == 200
    threads = answer.json()["threads"]
    assert answer.json()["pagination"]["total_count"] == len(threads)
    return {thread["name"] for thread in threads}


def exchanges(answer):
    assert answer.status_code == 200
    return [(message["input"], message["output"]) for message in answer.json()["messages"]]


def test_a_thread_needs_no_more_than_a_name(client, create, factories):
    thread = create()
    principal = factories.default_principal()
    assert set(thread) == FIELDS
    assert (thread["name"], thread["alias"], thread["metadata"]) == ("talk", "", {})
    assert (thread["message_count"], thread["messages_length"]) == (0, 0)
    assert thread["organization_id"] == str(principal.organization_id)
    assert thread["created_by"] == str(principal.user_id)
    assert client.get(f"/api/threads/{thread['thread_id']}").json() == thread


def test_a_thread_may_begin_with_messages(client, create):
    thread = create(
        alias="a" * 200,
        metadata={"a": [1, {"b": None}]},
        messages=[
            {"input": "Hi", "output": "Hello"},
            {"input": "Wie geht's, 世界?", "output": "", "metadata": None, "run": 1},
        ],
    )
    assert (thread["alias"], thread["metadata"]) == ("a" * 200, {"a": [1, {"b": None}]})
    assert (thread["message_count"], thread["messages_length"]) == (2, 7 + 15)
    url = f"/api/threads/{thread['thread_id']}"
    assert exchanges(client.get(f"{url}/messages")) == [("Hi", "Hello"), ("Wie geht's, 世界?", "")]
    assert client.get("/api/threads").json()["threads"] == [thread]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": None}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": "n" * 201}, "body.name"),
        ({"name": 5}, "body.name"),
        ({"name": "N\x00"}, "body.name"),
        ({"alias": "a" * 201}, "body.alias"),
        ({"alias": 5}, "body.alias"),
        ({"alias": "\x00"}, "body.alias"),
        ({"metadata": []}, "body.metadata"),
        ({"metadata": "x"}, "body.metadata"),
        ({"metadata": {"a": {"\x00": 1}}}, "body.metadata.a.\x00"),
        ({"messages": {}}, "body.messages"),
        ({"messages": [None]}, "body.messages.0"),
        ({"messages": [{"input": "Hi"}]}, "body.messages.0.output"),
        ({"messages": [{"input": 5, "output": ""}]}, "body.messages.0.input"),
        ({"messages": [{"input": "", "output": "\x00"}]}, "body.messages.0.output"),
        ({"messages": [{"input": "", "output": "", "metadata": []}]}, "body.messages.0.metadata"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(client, create, fields, path):
    thread = create(name="before")
    for method, url in [("POST", "/api/threads"), ("PATCH", f"/api/threads/{thread['thread_id']}")]:
        if method == "PATCH" and fields == {"name": None}:
            continue  # nothing to change
        answer = client.request(method, url, json={"name": "talk", **fields})
        assert answer.status_code == 400
        assert [item["path"] for item in answer.json()["errors"]] == [path]
    assert client.get("/api/threads").json()["threads"] == [thread]


def test_names_are_counted_in_characters(create):
    assert create(name="\U0001f30d" * 200)["name"] == "\U0001f30d" * 200


def test_an_alias_is_looked_up_exactly(client, create):
    for alias in ("ann", "Ann", "ann 2", "a&b=c%d", None, None):
        create(name=alias or "none", alias=alias)
    for alias in ("ann", "Ann", "ann 2", "a&b=c%d"):
        assert names(client.get("/api/threads", params={"alias": alias})) == {alias}
    for alias in ("", "an", "ANN", "ann%", "_nn", " ann", "none", "\u2028", "x" * 300):
        assert names(client.get("/api/threads", params={"alias": alias})) == set()


def test_no_alias_is_an_empty_one_and_any_number_may_have_none(create):
    assert [create(alias=alias)["alias"] for alias in (None, "", None, "")] == [""] * 4


def test_an_alias_is_taken_only_once_in_an_organization(client, create, as_stranger):
    first, second = create(alias="ann"), create(alias="bob")
    for answer in (
        client.post("/api/threads", json={"name": "new", "alias": "ann"}),
        client.patch(f"/api/threads/{second['thread_id']}", json={"alias": "ann", "messages": []}),
    ):
        assert answer.status_code == 409
        assert answer.json()["type"] == "Conflict"
        assert "'ann'" in answer.json()["errors"][0]["message"]
    assert client.get(f"/api/threads/{second['thread_id']}").json() == second
    assert client.patch(f"/api/threads/{first['thread_id']}", json={"alias": "ann"}).status_code == 200
    theirs = client.post("/api/threads", json={"name": "x", "alias": "ann"}, headers=as_stranger)
    assert theirs.status_code == 201


def test_a_prefix_is_of_the_name_or_of_the_alias(client, create):
    create(name="talk of ann", alias="x")
    create(name="50% off", alias="talk")
    create(name="Talk")
    prefixes = {"talk": {"talk of ann", "50% off"}, "50%": {"50% off"}, "%": set(), "_": set(), "x": None}
    for prefix, expected in prefixes.items():
        found = names(client.get("/api/threads", params={"starts_with": prefix}))
        assert found == ({"talk of ann"} if expected is None else expected)
    assert len(names(client.get("/api/threads?starts_with="))) == 3


def test_threads_are_listed_by_their_creator(client, create, factories):
    create(name="mine")
    own = str(factories.default_principal().user_id)
    assert names(client.get("/api/threads", params={"created_by": own})) == {"mine"}
    assert names(client.get("/api/threads", params={"created_by": ""})) == {"mine"}
    for nobody in (str(uuid.uuid4()), "ann", "\u00e4"):
        assert names(client.get("/api/threads", params={"created_by": nobody})) == set()


@pytest.mark.parametrize("query", ["alias=%00", "starts_with=a%00b", "created_by=%00", "page=0"])
def test_a_query_that_cannot_be_asked_is_a_400(client, query):
    answer = client.get(f"/api/threads?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"].startswith("query.")


def test_numbers_of_pages_may_have_a_point(client, create):
    for _ in range(3):
        create()
    page = client.get("/api/threads?page=2.0&page_size=2.0").json()
    assert len(page["threads"]) == 1
    assert page["pagination"] == {
        "page_number": 2,
        "page_size": 2,
        "total_count": 3,
        "total_pages": 2,
        "previous_page": 1,
    }


def test_a_change_of_messages_replaces_all_and_one_of_nothing_keeps_them(client, create):
    thread = create(messages=[{"input": "a", "output": "b"}, {"input": "c", "output": "d"}])
    url = f"/api/threads/{thread['thread_id']}"
    kept = client.patch(url, json={"name": "new"})
    assert (kept.status_code, kept.json()["name"], kept.json()["message_count"]) == (200, "new", 2)
    replaced = client.patch(url, json={"messages": [{"input": "e", "output": "fg"}]}).json()
    assert (replaced["message_count"], replaced["messages_length"], replaced["name"]) == (1, 3, "new")
    assert exchanges(client.get(f"{url}/messages")) == [("e", "fg")]
    assert client.patch(url, json={"messages": None}).json()["message_count"] == 1
    assert client.patch(url, json={"messages": []}).json()["message_count"] == 0


def test_the_memory_driver_may_store_keys_of_its_own(client, create):
    """It merges metadata into the body and into each message."""
    thread = create(alias="ann", metadata={"kept": True})
    run_id = uuid.uuid4().hex
    body = {
        "messages": [
            {"input": '{"a": 1}', "output": "x", "metadata": {"run_id": run_id}, "colour": [1], "id": 5}
        ],
        "foo": "bar",
        "thread_id": 7,
        "message_count": "x",
    }
    answer = client.patch(f"/api/threads/{thread['thread_id']}", json=body)
    assert answer.status_code == 200
    changed = {"message_count", "messages_length", "updated_at"}
    assert {name: answer.json()[name] for name in FIELDS - changed} == {
        name: thread[name] for name in FIELDS - changed
    }
    (message,) = client.get(f"/api/threads/{thread['thread_id']}/messages").json()["messages"]
    assert (message["input"], message["metadata"]) == ('{"a": 1}', {"run_id": run_id})


def test_null_clears_alias_and_metadata_and_leaves_the_rest(client, create):
    thread = create(alias="ann", metadata={"a": 1}, messages=[{"input": "a", "output": "b"}])
    nulls = dict.fromkeys(["name", "alias", "metadata", "messages"])
    changed = client.patch(f"/api/threads/{thread['thread_id']}", json=nulls).json()
    assert changed == thread | {"alias": "", "metadata": {}, "updated_at": changed["updated_at"]}


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"colour": 1}'])
def test_a_change_of_nothing_is_no_error(client, create, content):
    thread = create(alias="ann")
    answer = client.patch(f"/api/threads/{thread['thread_id']}", content=content)
    assert answer.status_code == 200
    assert answer.json() | {"updated_at": thread["updated_at"]} == thread


def test_a_deleted_thread_is_gone_with_its_messages_and_its_runs_are_not(client, create, make_run):
    thread = create(alias="ann", messages=[{"input": "a", "output": "b"}])
    url = f"/api/threads/{thread['thread_id']}"
    (message,) = client.get(f"{url}/messages").json()["messages"]
    run = make_run(thread_id=uuid.UUID(thread["thread_id"]))
    answer = client.delete(url)
    assert (answer.status_code, answer.content) == (204, b"")
    for gone in (url, f"{url}/messages", f"/api/messages/{message['message_id']}"):
        assert client.get(gone).status_code == 404
    assert client.delete(url).status_code == 404
    shown = client.get(f"/api/assistant-runs/{run.id}").json()
    assert shown["status"] == "QUEUED"
    assert "thread_id" not in shown
    assert create(alias="ann")["thread_id"] != thread["thread_id"]
