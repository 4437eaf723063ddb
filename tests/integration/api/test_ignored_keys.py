"""What a request says in vain is named in its answer and in the log, or refused if that is preferred."""

import uuid

import pytest

from api import middleware

STRICT = {"Prefer": "handling=strict"}
IGNORED = "x-runyard-ignored"


@pytest.fixture
def agent(make_assistant):
    return str(make_assistant().id)


@pytest.fixture
def doors(agent):
    """How a run is created, and the status of a refusal, in each dialect."""
    return {
        f"/api/assistants/{agent}/runs": 400,
        f"/api/v1/assistants/{agent}/runs": 422,
        "/v1/orchestrate/runs": 422,
    }


def named(answer):
    return answer.headers.get(IGNORED, "").split(", ") if IGNORED in answer.headers else []


def test_a_misspelt_key_is_taken_and_named(client, doors):
    for path in doors:
        answer = client.post(f"{path}?colour=red", json={"imput": "Hi", "context": {"a": 1}})
        assert answer.is_success
        assert named(answer) == ["?colour", "imput", "context"]
        assert "preference-applied" not in answer.headers


def test_what_is_known_is_not_named(client, doors):
    for path in doors:
        assert named(client.post(path, json={})) == []
        assert named(client.post(path)) == []
    page = client.get("/api/threads?page=1&page_size=5&alias=x&starts_with=&created_by=")
    assert named(page) == []


def test_who_prefers_strictness_is_refused_and_told_the_nearest_key(client, doors, dispatcher):
    for path, status in doors.items():
        answer = client.post(f"{path}?strem=true", json={"thread": "x"}, headers=STRICT)
        assert (answer.status_code, named(answer)) == (status, ["?strem"])
        answer = client.post(path, json={"thread": 1, "xyz": 2}, headers=STRICT)
        assert answer.status_code == status
        assert answer.headers["preference-applied"] == "handling=strict"
        faults = answer.json()["errors"] if status == 400 else answer.json()["detail"]
        said = [fault.get("message") or fault["msg"] for fault in faults]
        assert said == [
            "`thread` is not known here. Did you mean `thread_id`?",
            "`xyz` is not known here.",
        ]
        places = [fault.get("path") or ".".join(fault["loc"]) for fault in faults]
        assert places == ["body.thread", "body.xyz"]
    assert dispatcher.enqueued == []


def test_strictness_lets_pass_what_is_known(client, doors):
    for path in doors:
        answer = client.post(path, json={}, headers=STRICT)
        assert answer.is_success
        assert answer.headers["preference-applied"] == "handling=strict"


def test_nested_keys_are_named_with_their_place(client, agent):
    parts = [{"response_type": "text", "text": "Look"}, {"response_type": "image", "url": "x"}]
    body = {
        "agent_id": agent,
        "message": {"role": "user", "content": parts, "mentions": []},
        "llm_params": {"max_tokens": 5},
        "environment_id": "live",
    }
    answer = client.post("/v1/orchestrate/runs?multiple_content=true", json=body)
    assert answer.status_code == 200
    assert named(answer) == [
        *("?multiple_content", "environment_id", "message.mentions"),
        *("message.content[].url", "llm_params.max_tokens"),
    ]


def test_ids_of_what_does_not_exist_here_are_named(client, agent):
    ids = [str(uuid.uuid4())]
    names = ["knowledge_base_ids", "retriever_ids", "tool_ids"]
    both = [*names, *(f"additional_{name}" for name in names)]
    run = client.post(f"/api/assistants/{agent}/runs", json=dict.fromkeys(both, ids))
    assert run.status_code == 201
    assert sorted(named(run)) == sorted(both)
    assert named(client.post(f"/api/assistants/{agent}/runs", json={name: [] for name in both})) == []
    assert sorted(named(client.patch(f"/api/assistants/{agent}", json=dict.fromkeys(names, ids)))) == names
    refused = client.patch(f"/api/assistants/{agent}", json={"tool_ids": ids}, headers=STRICT)
    assert refused.status_code == 400
    assert "nothing here acts on it" in refused.text


def test_an_answer_that_is_an_error_names_what_was_ignored_too(client):
    answer = client.post("/api/structures", json={"nmae": "x"})
    assert answer.status_code == 400
    assert named(answer) == ["nmae"]
    answer = client.get(f"/api/assistant-runs/{uuid.uuid4()}?x=1")
    assert (answer.status_code, named(answer)) == (404, ["?x"])


def test_a_body_that_nobody_reads_is_named(client, make_run):
    run = make_run()
    cancel = f"/api/assistant-runs/{run.id}/cancel"
    refused = client.post(cancel, json={"reason": "enough"}, headers=STRICT)
    assert refused.status_code == 400
    assert named(client.post(cancel, json={})) == []
    assert named(client.post(cancel, json={"reason": "enough"})) == ["body"]


def test_no_name_adds_a_header_or_a_line_and_few_are_told(client, doors):
    for path in doors:
        keys = ["a\r\nSet-Cookie: x=1", "ключ,", "x" * 5_000, *(f"key{number}" for number in range(500))]
        answer = client.post(path, json=dict.fromkeys(keys, 1))
        assert answer.is_success
        assert "set-cookie" not in answer.headers
        header = answer.headers[IGNORED]
        assert header.isascii()
        assert header.isprintable()
        assert len(header) < 1_500
        assert len(named(answer)) == 17
        assert named(answer)[-1] == "..."


def test_a_large_body_is_looked_at_as_well(client, doors):
    for path in doors:
        answer = client.post(path, json={"padding": "x" * 100_000})
        assert (answer.is_success, named(answer)) == (True, ["padding"])


def test_the_log_has_the_names_and_no_value(client, doors, monkeypatch):
    lines = []
    monkeypatch.setattr(middleware.log, "info", lambda event, **fields: lines.append((event, fields)))
    for path in doors:
        client.post(path, json={"imput": "a secret"})
    client.get("/api/threads")
    assert [(event, fields.get("ignored")) for event, fields in lines] == [
        *[("request", ["imput"])] * 3,
        ("request", None),
    ]
    assert "a secret" not in str(lines)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"default": {"folder": "x"}}, "body.default"),
        ({"folder": "x"}, "body.folder"),
        ({"cdoe": {"default": {"folder": "x"}}}, "body.cdoe"),
        ({"Code": {"default": {}}}, "body.Code"),
        ({"env_var": []}, "body.env_var"),
        ({"code": {"default": {"foldr": "x"}}}, "body.code.DefaultCode.default.foldr"),
        ({"code": {"defualt": {}}}, None),
        ({"code": {}}, None),
        ({"code": {"github": {"owner": "a", "name": "b", "push": {"branch": "c", "tags": "d"}}}}, None),
    ],
    ids=str,
)
def test_a_structures_near_miss_is_a_400_and_not_the_sample(client, fields, path):
    structure = client.post("/api/structures", json={"name": "x"}).json()["structure_id"]
    for method, url in (("POST", "/api/structures"), ("PATCH", f"/api/structures/{structure}")):
        answer = client.request(method, url, json={"name": "x", **fields})
        assert answer.status_code == 400
        places = [fault["path"] for fault in answer.json()["errors"]]
        assert path is None or path in places, places


def test_a_structure_can_be_sent_back_as_it_was_read(client):
    made = client.post("/api/structures", json={"name": "x", "whatever": 1})
    assert (made.status_code, named(made)) == (201, ["whatever"])
    url = f"/api/structures/{made.json()['structure_id']}"
    assert client.patch(url, json=client.get(url).json()).status_code == 200


def test_the_key_of_a_webhook_is_known(anonymous, secret, factories):
    structure = factories.structure(webhook_enabled=True)
    answer = anonymous.post(
        f"/api/structures/{structure.id}/webhook?api_key={secret}&source=x", content=b"Hi"
    )
    assert answer.status_code == 200
    assert named(answer) == ["?source"]


def test_strangers_are_told_nothing(anonymous):
    answer = anonymous.post("/v1/orchestrate/runs?x=1", json={"y": 1}, headers=STRICT)
    assert (answer.status_code, named(answer)) == (401, [])
