"""What callers note of assistants and threads, and lists that are narrowed by it."""

import pytest
from sqlalchemy import func, select

from shared.models import AssistantMetadata, ThreadMetadata

RESOURCES = {
    "/api/assistants": ("assistants", "assistant_id", AssistantMetadata),
    "/api/threads": ("threads", "thread_id", ThreadMetadata),
}


@pytest.fixture(params=RESOURCES)
def path(request):
    return request.param


@pytest.fixture
def make(client, path):
    def make(name, metadata=None):
        body = {"name": name} | ({} if metadata is None else {"metadata": metadata})
        answer = client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return make


@pytest.fixture
def names(client, path):
    """Ask the list by page and by cursor; answer with the names it shows, sorted."""

    def names(query, **more):
        key = RESOURCES[path][0]
        paged = client.get(f"{path}?{query}", **more)
        assert paged.status_code == 200, paged.text
        assert "x-runyard-ignored" not in paged.headers
        found = [one["name"] for one in paged.json()[key]]
        assert paged.json()["pagination"]["total_count"] == len(found)
        walked, cursor = [], ""
        while cursor is not None:
            answer = client.get(f"{path}?{query}&page_size=1&cursor={cursor}", **more).json()
            walked += [one["name"] for one in answer[key]]
            cursor = answer["pagination"].get("next_cursor")
        assert walked == found
        return sorted(found)

    return names


def test_lists_are_narrowed_by_metadata(make, names):
    make("none")
    make("red", {"team": "red", "colour": "a:b"})
    make("blue", {"team": "blue"})
    make("also red", {"team": "red"})
    assert names("metadata[team]=red") == ["also red", "red"]
    assert names("metadata=team:red") == ["also red", "red"]
    assert names("metadata[team]=red&metadata[colour]=a:b") == ["red"]
    assert names('metadata={"team": "blue"}') == ["blue"]
    assert names("metadata[team]=green") == []
    assert names("metadata[team]=") == []
    assert names("metadata=") == ["also red", "blue", "none", "red"]


def test_a_change_of_metadata_moves_it_in_lists(client, path, make, names):
    made = make("Ann", {"team": "red", "colour": "green"})
    own = f"{path}/{made[RESOURCES[path][1]]}"
    assert made["metadata"] == {"team": "red", "colour": "green"}
    assert client.patch(own, json={"name": "Bea"}).json()["metadata"] == made["metadata"]
    assert names("metadata[team]=red") == ["Bea"]
    assert client.patch(own, json={"metadata": {"team": "blue"}}).json()["metadata"] == {"team": "blue"}
    assert names("metadata[team]=red") == names("metadata[colour]=green") == []
    assert names("metadata[team]=blue") == ["Bea"]
    assert client.patch(own, json={"metadata": None}).json()["metadata"] == {}
    assert names("metadata[team]=blue") == []


def test_nobody_finds_what_others_noted(client, make, names, as_stranger):
    make("mine", {"team": "red"})
    assert names("metadata[team]=red") == ["mine"]
    assert names("metadata[team]=red", headers=as_stranger) == []


def test_what_is_deleted_is_found_no_more_and_leaves_no_pairs(client, path, make, names, sessions):
    made = make("Ann", {"team": "red"})
    assert client.delete(f"{path}/{made[RESOURCES[path][1]]}").status_code == 204
    assert names("metadata[team]=red") == []
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(RESOURCES[path][2])) == 0


@pytest.mark.parametrize("query", ["metadata=nonsense", "metadata[a]=" + "x" * 513, 'metadata={"a": 5}'])
def test_a_filter_that_no_metadata_can_match_is_refused(client, path, query):
    answer = client.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"].startswith("query.metadata")


def test_a_thread_has_any_metadata_and_is_found_by_its_short_texts(client, sessions):
    many = {f"k{number:02}": "x" for number in range(40)}
    metadata = {
        "team": "red",
        "deep": {"team": "blue"},
        "number": 7,
        "long": "x" * 513,
        "l" * 65: "x",
        "": "x",
    }
    for name, noted in (("odd", metadata), ("many", many)):
        answer = client.post("/api/threads", json={"name": name, "metadata": noted})
        assert answer.status_code == 201
        assert answer.json()["metadata"] == noted
    found = client.get("/api/threads?metadata[team]=red").json()["threads"]
    assert [thread["name"] for thread in found] == ["odd"]
    assert client.get("/api/threads?metadata[number]=7").json()["threads"] == []
    assert len(client.get("/api/threads?metadata[k15]=x").json()["threads"]) == 1
    assert client.get("/api/threads?metadata[k16]=x").json()["threads"] == []
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ThreadMetadata)) == 1 + 16
