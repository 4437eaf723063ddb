"""Assistants over HTTP."""

import re
import uuid

import pytest

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
LISTS = ["knowledge_base_ids", "retriever_ids", "ruleset_ids", "structure_ids", "tool_ids"]


def test_an_assistant_needs_no_more_than_a_name(client):
    answer = client.post("/api/assistants", json={"name": "Ann"})
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {
        *("assistant_id", "organization_id", "name", "description", "created_by", "created_at", "updated_at"),
        "metadata",
        *LISTS,
    }
    assert (body["name"], body["description"], body["tool_ids"]) == ("Ann", "", [])
    assert str(uuid.UUID(body["assistant_id"])) == body["assistant_id"]
    assert INSTANT.fullmatch(body["created_at"])
    assert client.get(f"/api/assistants/{body['assistant_id']}").json() == body


def test_every_field_is_kept(client):
    rulesets = [client.post("/api/rulesets", json={"name": "r"}).json()["ruleset_id"] for _ in range(2)]
    structures = [client.post("/api/structures", json={"name": "s"}).json()["structure_id"] for _ in range(2)]
    fields = {
        "name": "n" * 200,
        "description": "d" * 200,
        "input": "Do.",
        "model": "openai/gpt-5",
        **{name: [str(uuid.uuid4()), str(uuid.uuid4())] for name in LISTS},
        "ruleset_ids": rulesets,
        "structure_ids": structures,
    }
    created = client.post("/api/assistants", json=fields).json()
    assert {name: created[name] for name in fields} == fields


def test_a_ruleset_nobody_has_is_a_400_that_names_it(client, make_assistant):
    unknown = str(uuid.uuid4())
    for method, url in [("POST", "/api/assistants"), ("PATCH", f"/api/assistants/{make_assistant().id}")]:
        answer = client.request(method, url, json={"name": "Ann", "ruleset_ids": [unknown]})
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        assert unknown in error["message"]
        assert error["path"] == "ruleset_ids"
    assert client.get("/api/assistants").json()["pagination"]["total_count"] == 1


def test_null_is_nothing(client):
    fields = dict.fromkeys(["description", "input", "model", *LISTS])
    answer = client.post("/api/assistants", json={"name": "Ann", **fields})
    assert answer.status_code == 201
    assert answer.json()["description"] == ""
    assert "input" not in answer.json()


def test_unknown_keys_are_ignored(client):
    assert client.post("/api/assistants?path={x}", json={"name": "Ann", "colour": 1}).status_code == 201


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "body.name"),
        ({"name": None}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": "n" * 201}, "body.name"),
        ({"name": 5}, "body.name"),
        ({"name": ["Ann"]}, "body.name"),
        ({"name": "Ann", "description": "d" * 201}, "body.description"),
        ({"name": "Ann", "input": {"a": 1}}, "body.input"),
        ({"name": "Ann", "model": "gpt"}, "body.model"),
        ({"name": "Ann", "tool_ids": "x"}, "body.tool_ids"),
        ({"name": "Ann", "tool_ids": ["x"]}, "body.tool_ids.0"),
        ({"name": "Ann", "ruleset_ids": [5]}, "body.ruleset_ids.0"),
        ({"name": "An\x00n"}, "body.name"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(client, fields, path):
    answer = client.post("/api/assistants", json=fields)
    assert answer.status_code == 400
    assert answer.json()["type"] == "BadRequest"
    assert [item["path"] for item in answer.json()["errors"]] == [path]
    assert all(set(item) == {"type", "message", "path"} for item in answer.json()["errors"])


def test_a_change_leaves_what_it_does_not_name(client, make_assistant):
    assistant = make_assistant(description="old", input="Do.", model="echo", tool_ids=[uuid.uuid4()])
    url = f"/api/assistants/{assistant.id}"
    before = client.get(url).json()
    answer = client.patch(url, json={"description": "new", "retriever_ids": [str(assistant.id)]})
    assert answer.status_code == 200
    changed = {"description": "new", "retriever_ids": [str(assistant.id)]}
    assert answer.json() == before | changed | {"updated_at": answer.json()["updated_at"]}
    assert client.get(url).json() == answer.json()


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"colour": 1}'])
def test_a_change_of_nothing_changes_nothing(client, make_assistant, content):
    url = f"/api/assistants/{make_assistant(description='old').id}"
    before = client.get(url).json()
    answer = client.patch(url, content=content)
    assert (answer.status_code, answer.json()) == (200, before)


def test_null_clears_a_text_and_leaves_the_rest(client, make_assistant):
    assistant = make_assistant(description="old", input="Do.", model="echo", tool_ids=[uuid.uuid4()])
    changed = client.patch(
        f"/api/assistants/{assistant.id}",
        json={"name": None, "description": None, "input": None, "model": None, "tool_ids": None},
    ).json()
    assert (changed["name"], changed["description"]) == ("assistant", "")
    assert not {"input", "model"} & set(changed)
    assert changed["tool_ids"] == [str(id_) for id_ in assistant.tool_ids]


def test_an_empty_list_empties(client, make_assistant):
    assistant = make_assistant(tool_ids=[uuid.uuid4()])
    assert client.patch(f"/api/assistants/{assistant.id}", json={"tool_ids": []}).json()["tool_ids"] == []


def test_a_deleted_assistant_is_gone_and_its_runs_are_not(client, make_assistant, make_run):
    assistant = make_assistant()
    run = make_run(assistant=assistant)
    url = f"/api/assistants/{assistant.id}"
    answer = client.delete(url)
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404
    assert client.post(f"{url}/runs", json={}).status_code == 404
    assert client.get("/api/assistants").json()["assistants"] == []
    assert client.get(f"/api/assistant-runs/{run.id}").status_code == 200


def test_another_organizations_assistant_is_as_unknown_as_any(client, make_assistant, as_stranger):
    mine = str(make_assistant().id)
    unknown = str(uuid.uuid4())
    for method, tail in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/runs"), ("GET", "/runs")]:
        answers = [
            client.request(method, f"/api/assistants/{id_}{tail}", headers=as_stranger, json={})
            for id_ in (mine, unknown)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text.replace(mine, unknown) == answers[1].text
    assert client.get("/api/assistants", headers=as_stranger).json()["assistants"] == []
    assert client.get(f"/api/assistants/{mine}").status_code == 200


@pytest.mark.parametrize(
    "identifier", ["x", "123", "%00", "%ff", "0" * 33, "11111111-1111-4111-8111-11111111111g"]
)
def test_what_is_no_id_is_unknown(client, identifier):
    for path in ("assistants", "assistant-runs", "events"):
        answer = client.get(f"/api/{path}/{identifier}")
        assert answer.status_code == 404
        assert "There is no such" in answer.json()["errors"][0]["message"]


def test_pages_count_from_one(client, make_assistant):
    for number in range(5):
        make_assistant(name=f"assistant {number}")
    first = client.get("/api/assistants?page_size=2").json()
    assert first["pagination"].pop("next_cursor")
    assert first["pagination"] == {
        "page_number": 1,
        "page_size": 2,
        "total_count": 5,
        "total_pages": 3,
        "next_page": 2,
    }
    last = client.get("/api/assistants?page=3.0&page_size=2.0").json()
    assert last["pagination"]["previous_page"] == 2
    assert "next_page" not in last["pagination"]
    pages = [client.get(f"/api/assistants?page={page}&page_size=2").json() for page in (1, 2, 3, 4)]
    assert [len(page["assistants"]) for page in pages] == [2, 2, 1, 0]
    assert len({item["assistant_id"] for page in pages for item in page["assistants"]}) == 5
    assert pages[3]["pagination"]["previous_page"] == 3


def test_without_numbers_a_page_is_large(client, make_assistant):
    assert client.get("/api/assistants").json()["pagination"] == {
        "page_number": 1,
        "page_size": 100,
        "total_count": 0,
        "total_pages": 0,
    }
    assert client.get("/api/assistants?page_size=100000").json()["pagination"]["page_size"] == 1000
    assert client.get("/api/assistants?page=&page_size=").status_code == 200
    assert client.get("/api/assistants?page=2147483647&page_size=1000").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *("page=0", "page=-1", "page=x", "page=1.5", "page=nan", "page=1e3", "page=9999999999", "page=%00"),
        *("page_size=0", "page_size=-5", "page_size=inf", "page_size=%ff", "page_size=٣"),
    ],
)
def test_a_page_that_is_no_number_is_a_400(client, query):
    answer = client.get(f"/api/assistants?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == f"query.{query.partition('=')[0]}"
