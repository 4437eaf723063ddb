"""Messages of threads over HTTP."""

import pytest

FIELDS = {
    *("message_id", "thread_id", "index", "input", "output", "metadata"),
    *("created_by", "created_at", "updated_at"),
}


@pytest.fixture
def thread(client):
    return client.post("/api/threads", json={"name": "talk"}).json()["thread_id"]


@pytest.fixture
def url(thread):
    return f"/api/threads/{thread}/messages"


def test_a_message_is_one_exchange(client, url, thread, factories):
    answer = client.post(url, json={"input": "Hi", "output": "Hello", "metadata": {"run_id": "x"}})
    assert answer.status_code == 201
    message = answer.json()
    assert set(message) == FIELDS
    assert (message["thread_id"], message["index"]) == (thread, 0)
    assert (message["input"], message["output"], message["metadata"]) == ("Hi", "Hello", {"run_id": "x"})
    assert message["created_by"] == str(factories.default_principal().user_id)
    assert client.get(f"/api/messages/{message['message_id']}").json() == message
    assert client.get(url).json()["messages"] == [message]


def test_metadata_is_an_object_whatever_was_sent(client, url):
    for fields in ({}, {"metadata": None}, {"metadata": {}}):
        message = client.post(url, json={"input": "", "output": "", **fields}).json()
        assert message["metadata"] == {}


def test_five_hundred_messages_are_one_page_in_their_order(client, thread, url):
    """A client that is shown less deletes the rest with its next store."""
    texts = [str(number) for number in range(1500)]
    messages = [{"input": text, "output": "x"} for text in texts]
    stored = client.patch(f"/api/threads/{thread}", json={"messages": messages}).json()
    assert (stored["message_count"], stored["messages_length"]) == (1500, sum(map(len, texts)) + 1500)
    page = client.get(url).json()
    assert [message["input"] for message in page["messages"]] == texts
    assert [message["index"] for message in page["messages"]] == list(range(1500))
    assert page["pagination"] == {
        "page_number": 1,
        "page_size": 1500,
        "total_count": 1500,
        "total_pages": 1,
    }


def test_a_client_that_asks_for_pages_gets_pages(client, thread, url):
    messages = [{"input": str(number), "output": ""} for number in range(5)]
    client.patch(f"/api/threads/{thread}", json={"messages": messages})
    pages = [client.get(url, params={"page": page, "page_size": "2.0"}).json() for page in (1, 2, 3, 4)]
    shown = [[message["input"] for message in page["messages"]] for page in pages]
    assert shown == [["0", "1"], ["2", "3"], ["4"], []]
    assert pages[0]["pagination"]["next_page"] == 2
    assert "next_page" not in pages[2]["pagination"]
    assert client.get(url, params={"page": 2}).json()["messages"] == []
    assert client.get(url, params={"page_size": "0"}).status_code == 400


def test_messages_come_after_the_last_one(client, url):
    for number in range(3):
        client.post(url, json={"input": str(number), "output": ""})
    first, second, third = client.get(url).json()["messages"]
    assert client.delete(f"/api/messages/{second['message_id']}").status_code == 204
    fourth = client.post(url, json={"input": "3", "output": ""}).json()
    assert fourth["index"] == 3
    assert client.get(url).json()["messages"] == [first, third, fourth]


def test_a_change_leaves_what_it_does_not_name(client, url):
    message = client.post(url, json={"input": "a", "output": "b", "metadata": {"a": 1}}).json()
    own = f"/api/messages/{message['message_id']}"
    changed = client.patch(own, json={"output": "c", "colour": 1})
    assert changed.status_code == 200
    message = {**message, "output": "c", "updated_at": changed.json()["updated_at"]}
    assert changed.json() == message
    nulls = client.patch(own, json=dict.fromkeys(["input", "output", "metadata"])).json()
    assert nulls == {**message, "metadata": {}, "updated_at": nulls["updated_at"]}
    for content in (b"", b"null", b"{}"):
        assert client.patch(own, content=content).json() == nulls


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"input": 5}, "body.input"),
        ({"output": ["x"]}, "body.output"),
        ({"output": "a\x00"}, "body.output"),
        ({"metadata": "x"}, "body.metadata"),
        ({"metadata": {"a": "\x00"}}, "body.metadata.a"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(client, url, fields, path):
    message = client.post(url, json={"input": "a", "output": "b"}).json()
    for method, target in [("POST", url), ("PATCH", f"/api/messages/{message['message_id']}")]:
        answer = client.request(method, target, json={"input": "a", "output": "b", **fields})
        assert answer.status_code == 400
        assert [item["path"] for item in answer.json()["errors"]] == [path]
    assert client.get(url).json()["messages"] == [message]


def test_a_message_needs_both_sides(client, url):
    for fields in ({"input": "a"}, {"output": "a"}, {}, {"input": None, "output": None}):
        assert client.post(url, json=fields).status_code == 400


def test_a_deleted_message_is_gone(client, url):
    message = client.post(url, json={"input": "a", "output": "b"}).json()
    own = f"/api/messages/{message['message_id']}"
    answer = client.delete(own)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [client.request(method, own, json={}).status_code for method in ("GET", "PATCH", "DELETE")] == [
        404
    ] * 3
    assert client.get(url).json()["messages"] == []
