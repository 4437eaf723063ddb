"""Runs of assistants over HTTP."""

import uuid

import pytest

from shared.lifecycle import RunStatus
from tests.support.factories import WORKER

LISTS = ["knowledge_base_ids", "retriever_ids", "ruleset_ids", "structure_ids", "tool_ids"]
ALWAYS = {
    *("assistant_run_id", "assistant_id", "status", "args", "stream", "created_by"),
    *("created_at", "updated_at", "started_at", "completed_at", "attempt", "metadata", *LISTS),
}


def ids(count=1):
    return [str(uuid.uuid4()) for _ in range(count)]


def test_an_accepted_run_is_queued_and_sent_to_the_workers(create_run, client, dispatcher):
    answer = create_run(args=["Hi"])
    assert answer.status_code == 201
    run = answer.json()
    assert set(run) == ALWAYS
    assert (run["status"], run["args"], run["stream"], run["completed_at"]) == ("QUEUED", ["Hi"], False, None)
    assert dispatcher.enqueued == [(uuid.UUID(run["assistant_run_id"]), 1)]
    assert client.get(f"/api/assistant-runs/{run['assistant_run_id']}").json() == run


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"create_new_thread": true, "inputs": {}}'])
def test_a_body_is_optional_and_unknown_keys_are_ignored(create_run, content):
    answer = create_run(content)
    assert answer.status_code == 201
    assert answer.json()["args"] == []


def test_null_is_nothing(create_run):
    fields = ["args", "input", "thread_id", "new_thread", "stream", "model", *LISTS]
    answer = create_run(**dict.fromkeys([*fields, *(f"additional_{name}" for name in LISTS)]))
    assert answer.status_code == 201
    assert set(answer.json()) == ALWAYS


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "nonsense"]
)
def test_json_is_json_whatever_it_is_called(client, make_assistant, content_type):
    answer = client.post(
        f"/api/assistants/{make_assistant().id}/runs",
        content=b'{"input": "Hi"}',
        headers={"Content-Type": content_type} if content_type else {},
    )
    assert (answer.status_code, answer.json()["input"]) == (201, "Hi")


def test_arguments_that_are_no_text_become_their_json(create_run):
    run = create_run(args=["a", 1, 1.5, True, None, {"ä": [1]}, ["x"]]).json()
    assert run["args"] == ["a", "1", "1.5", "true", "null", '{"ä":[1]}', '["x"]']


def test_the_assistants_input_and_model_are_the_runs_unless_it_has_its_own(client, make_assistant):
    url = f"/api/assistants/{make_assistant(input='Be brief.', model='openai/a').id}/runs"
    run = client.post(url, json={"input": None, "args": ["Hi"]}).json()
    assert (run["input"], run["model"]) == ("Be brief.", "openai/a")
    run = client.post(url, json={"input": "Be long.", "model": "echo"}).json()
    assert (run["input"], run["model"]) == ("Be long.", "echo")


@pytest.fixture
def rulesets(client):
    def rulesets(count=1):
        made = [client.post("/api/rulesets", json={"name": "r"}).json() for _ in range(count)]
        return [ruleset["ruleset_id"] for ruleset in made]

    return rulesets


@pytest.fixture
def structures(client):
    def structures(count=1):
        made = [client.post("/api/structures", json={"name": "s"}).json() for _ in range(count)]
        return [structure["structure_id"] for structure in made]

    return structures


def test_a_present_list_replaces_and_an_additional_one_adds(client, make_assistant, rulesets, structures):
    for name in LISTS:
        make = {"ruleset_ids": rulesets, "structure_ids": structures}.get(name, ids)
        own, other, more = make(), make(2), make(2)
        assistant = make_assistant(**{name: [uuid.UUID(own[0])]})
        url = f"/api/assistants/{assistant.id}/runs"
        for fields, expected in [
            ({}, own),
            ({name: other}, other),
            ({name: []}, []),
            ({f"additional_{name}": more}, own + more),
            ({name: other, f"additional_{name}": more}, other + more),
            ({name: [], f"additional_{name}": []}, []),
        ]:
            assert client.post(url, json=fields).json()[name] == expected


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"args": "Hi"}, "body.args"),
        ({"args": {"0": "Hi"}}, "body.args"),
        ({"args": ["Hi", "N\x00L"]}, "body.args.1"),
        ({"args": [{"a": [{"b\x00": 1}]}]}, "body.args.0.a.0.b\x00"),
        ({"unknown": {"deep": ["\x00"]}}, "body.unknown.deep.0"),
        ({"input": 5}, "body.input"),
        ({"input": "\x00"}, "body.input"),
        ({"stream": "yes"}, "body.stream"),
        ({"stream": 1}, "body.stream"),
        ({"model": ""}, "body.model"),
        ({"model": "gpt-5"}, "body.model"),
        ({"model": "/gpt"}, "body.model"),
        ({"model": "openai/"}, "body.model"),
        ({"model": "openai/a\nb"}, "body.model"),
        ({"model": "openai/" + "a" * 200}, "body.model"),
        ({"model": ["echo"]}, "body.model"),
        ({"thread_id": 5}, "body.thread_id"),
        ({"thread_id": "no id"}, "body.thread_id"),
        ({"new_thread": "yes"}, "body.new_thread"),
        ({"ruleset_ids": ["11111111-1111-4111-8111-111111111111"]}, "ruleset_ids"),
        ({"additional_ruleset_ids": ["11111111-1111-4111-8111-111111111111"]}, "additional_ruleset_ids"),
        ({"tool_ids": ["x"]}, "body.tool_ids.0"),
        ({"tool_ids": {}}, "body.tool_ids"),
        ({"additional_ruleset_ids": [None]}, "body.additional_ruleset_ids.0"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(create_run, dispatcher, fields, path):
    answer = create_run(**fields)
    assert answer.status_code == 400
    assert [item["path"] for item in answer.json()["errors"]] == [path]
    assert dispatcher.enqueued == []


@pytest.mark.parametrize(
    "model", ["echo", "openai/gpt-5", "someone-elses/model", "amazon-bedrock/arn:aws:x/y"]
)
def test_a_model_names_its_provider(create_run, model):
    assert create_run(model=model).json()["model"] == model


@pytest.mark.parametrize("fields", [{"thread_id": ""}, {"thread_id": None, "new_thread": False}])
def test_no_thread_is_fine(create_run, fields):
    assert create_run(**fields).status_code == 201


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"Hi",
        b" ",
        b"[1]",
        b'"text"',
        b"5",
        b"true",
        b"{'input': 'Hi'}",
        b'{"input": "\xff\xfe"}',
        b'{"input": "\\ud800"}',
        b'{"input": "\\udc00\\ud800"}',
        b'{"input": NaN}',
        b'{"args": [1e999]}',
        b'{"args": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"a": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001,
        b'{"args": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xef\xbb\xbf{}",
        b"input=Hi",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_a_body_that_is_no_json_object_is_a_400(create_run, dispatcher, content):
    answer = create_run(content)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["path"], bool(error["message"])) == ("body", True)
    assert dispatcher.enqueued == []


def test_text_of_any_language_comes_back(create_run):
    text = 'Grüße, 世界 \U0001f30d \u2028 \x7f \t\n "quoted" \\u0000 <b>&amp;'
    assert create_run(input=text).json()["input"] == text


def test_an_ended_run_shows_its_output_and_why_it_ended(client, make_run):
    run = client.get(f"/api/assistant-runs/{make_run(status=RunStatus.SUCCEEDED).id}").json()
    assert set(run) == ALWAYS | {"input", "output", "worker"}
    assert run["output"]["value"] == "Hello"
    assert run["started_at"].endswith("Z")
    assert run["completed_at"].endswith("Z")
    assert (run["attempt"], run["worker"]) == (1, WORKER)
    run = client.get(f"/api/assistant-runs/{make_run(status=RunStatus.CANCELLED).id}").json()
    assert set(run) == ALWAYS | {"input", "status_detail"}
    assert run["status_detail"]["reason"] == "Cancelled"


@pytest.mark.parametrize(
    "request_options",
    [{}, {"json": {}}, {"json": {"reason": "x"}}, {"content": b"{"}, {"content": b"\xff"}],
)
def test_a_cancel_ignores_its_body(client, make_run, dispatcher, request_options):
    run = make_run()
    answer = client.post(f"/api/assistant-runs/{run.id}/cancel", **request_options)
    assert answer.status_code == 200
    assert answer.json()["status"] == "CANCELLED"
    assert answer.json()["status_detail"]["stopped_how"] == "never_started"
    assert (run.id, 1) in dispatcher.revoked


def test_a_second_cancel_changes_nothing(client, make_run, dispatcher):
    url = f"/api/assistant-runs/{make_run(status=RunStatus.RUNNING).id}/cancel"
    first = client.post(url).json()
    assert client.post(url).json() == first
    assert len(dispatcher.revoked) == 1


def test_a_cancel_of_an_ended_run_shows_it_as_it_is(client, make_run, dispatcher):
    run = make_run(status=RunStatus.SUCCEEDED)
    answer = client.post(f"/api/assistant-runs/{run.id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "SUCCEEDED")
    assert dispatcher.revoked == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", 7),
        ("status=", 7),
        ("status=QUEUED", 1),
        ("status=SUCCEEDED,FAILED", 2),
        ("status=SUCCEEDED&status=FAILED", 2),
        ("status=SUCCEEDED,&status=ERROR,CANCELLED", 3),
    ],
)
def test_runs_are_listed_by_status(client, make_assistant, make_run, query, expected):
    assistant = make_assistant()
    for status in RunStatus:
        make_run(assistant=assistant, status=status)
    make_run()
    answer = client.get(f"/api/assistants/{assistant.id}/runs?{query}&colour=red").json()
    assert len(answer["assistant_runs"]) == answer["pagination"]["total_count"] == expected


@pytest.mark.parametrize("query", ["status=DONE", "status=queued", "status=QUEUED,%00", "status=%ff"])
def test_an_unknown_status_is_a_400(client, make_assistant, query):
    answer = client.get(f"/api/assistants/{make_assistant().id}/runs?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"].startswith("query.status")


def test_another_organizations_run_is_as_unknown_as_any(client, make_run, as_stranger):
    mine, unknown = str(make_run().id), str(uuid.uuid4())
    for method, tail in [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/events/stream")]:
        answers = [
            client.request(method, f"/api/assistant-runs/{id_}{tail}", headers=as_stranger)
            for id_ in (mine, unknown)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text.replace(mine, unknown) == answers[1].text
        assert answers[0].json()["errors"][0]["type"] == "RunNotFound"
    assert client.get(f"/api/assistant-runs/{mine}").json()["status"] == "QUEUED"
