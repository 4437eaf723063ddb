"""Which agents and tools are listed."""

import uuid

import pytest


@pytest.fixture
def names_at(client):
    """The names that a list shows."""

    def names_at(path, **query):
        answer = client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return sorted(found["name"] for found in answer.json())

    return names_at


def test_agents_are_listed_by_the_names_and_ids_that_are_asked_for(base, names_at, make_assistant):
    ada, bob, _ = (make_assistant(name=name) for name in ("Ada", "Bob", "Cy, the third"))
    path = f"{base}/agents"
    assert names_at(path) == ["Ada", "Bob", "Cy, the third"]
    assert names_at(path, names="Ada") == ["Ada"]
    assert names_at(path, names=["Bob", "Cy, the third"]) == ["Bob", "Cy, the third"]
    assert names_at(path, ids=str(bob.id)) == ["Bob"]
    assert names_at(path, ids=[str(ada.id), str(uuid.uuid4())], names="Bob") == ["Ada", "Bob"]


@pytest.mark.parametrize("query", [{"names": "Nobody"}, {"ids": "no-id"}, {"names": "\x00"}, {"names": ""}])
def test_what_names_no_agent_lists_none_rather_than_all(base, names_at, make_assistant, query):
    make_assistant(name="Ada")
    assert names_at(f"{base}/orchestrate/agents", **query) == []


def test_tools_are_listed_by_the_names_and_ids_that_are_asked_for(base, client, names_at):
    made = [
        client.post("/api/structures", json={"name": name}).json()["structure_id"]
        for name in ("Weather report", "Calculator")
    ]
    path = f"{base}/tools"
    assert names_at(path, names="WeatherReport") == ["WeatherReport"]
    assert names_at(path, names="Weather report") == ["WeatherReport"]
    assert names_at(path, ids=made[1]) == ["Calculator"]
    assert names_at(path, names="Nothing") == []


def test_one_agent_and_one_tool_are_read_as_they_are_listed(base, client, make_assistant):
    make_assistant(name="Ada")
    client.post("/api/structures", json={"name": "Calculator"})
    for path in (f"{base}/agents", f"{base}/orchestrate/agents", f"{base}/tools"):
        (listed,) = client.get(path).json()
        assert client.get(f"{path}/{listed['id']}").json() == listed
        assert client.get(f"{path}/{uuid.uuid4()}").status_code == 404
        assert isinstance(client.get(f"{path}/no-id").json()["detail"], str)
