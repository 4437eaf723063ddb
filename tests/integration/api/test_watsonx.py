"""The watsonx Orchestrate dialect: the same runs and threads, under two prefixes."""

import uuid
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from shared.db import unit_of_work
from shared.models import Run
from shared.runs import service, transitions
from shared.runs.effects import cancel_by
from shared.runs.lifecycle import TERMINAL, TRANSITIONS, Reason, RunStatus, Trigger
from shared.runs.service import Success
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import LEASE, WORKER

PREFIXES = ("/api/v1", "/v1")
FIELDS = {
    *("id", "tenant_id", "assistant_id", "agent_id", "thread_id", "status", "created_at", "started_at"),
    *("completed_at", "failed_at", "cancelled_at", "llm_params", "usage", "last_error", "error", "result"),
    *("guardrails", "additional_parameters", "trace_id", "status_detail"),
}
ANSWER = {"type": "TextArtifact", "value": "So it goes"}


@pytest.fixture(params=PREFIXES)
def base(request):
    return request.param


@pytest.fixture
def agent(make_assistant):
    return str(make_assistant().id)


@pytest.fixture
def create(client, agent):
    def create(base="/api/v1", **fields):
        body = {"message": {"role": "user", "content": "Listen"}, "agent_id": agent, **fields}
        answer = client.post(f"{base}/orchestrate/runs", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return create


@pytest.fixture
def move(sessions, dispatcher):
    """Bring a run into a status as its worker would."""

    def move(run_id, *triggers):
        with unit_of_work(sessions) as session:
            run = session.get_one(Run, uuid.UUID(run_id))
            for trigger in triggers:
                if trigger is Trigger.CLAIM:
                    transitions.claim(
                        session, run.id, attempt=run.attempt + 1, worker=WORKER, lease_ttl=LEASE
                    )
                elif trigger is Trigger.SUCCEED:
                    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7, "model_calls": 1}
                    done = Success("Listen", ANSWER, usage)
                    service.succeed(session, dispatcher, run.id, done, attempt=run.attempt)
                elif trigger is Trigger.CANCEL:
                    detail = transitions.cancel_detail(requested_by="me")
                    transitions.apply(session, run.id, trigger, detail=detail)
                else:
                    detail = {"reason": Reason.MODEL_FAILED, "message": "It broke."}
                    transitions.apply(session, run.id, trigger, attempt=run.attempt, detail=detail)

    return move


def test_a_run_is_created_on_a_new_thread_and_read_with_every_field(client, create, base, agent):
    made = create(base, llm_params={"temperature": 0.5, "unknown": 1}, additional_parameters={"a": [1]})
    assert set(made) == {"thread_id", "run_id", "task_id", "message_id"}
    run = client.get(f"{base}/orchestrate/runs/{made['run_id']}").json()
    assert set(run) == FIELDS
    assert (run["status"], run["assistant_id"], run["agent_id"]) == ("pending", agent, agent)
    assert run["thread_id"] == made["thread_id"]
    assert run["llm_params"] == {"temperature": 0.5}
    assert run["additional_parameters"] == {"a": [1]}
    assert run["started_at"] is run["completed_at"] is run["result"] is run["usage"] is None
    assert run["created_at"].endswith("Z")
    assert "." in run["created_at"]


def test_a_run_of_one_door_is_seen_listed_and_cancelled_through_the_other(client, create, agent):
    ours = client.post(f"/api/assistants/{agent}/runs", json={"input": "Hi"}).json()["assistant_run_id"]
    theirs = create()["run_id"]
    listed = client.get("/api/v1/orchestrate/runs").json()
    assert {run["id"] for run in listed["data"]} == {ours, theirs}
    assert (listed["total"], listed["offset"]) == (2, 0)
    assert {run["id"] for run in client.get(f"/v1/assistants/{agent}/runs").json()} == {ours, theirs}
    assert client.get(f"/v1/assistants/{agent}/runs/{ours}").json()["id"] == ours
    assert client.post(f"/v1/orchestrate/runs/cancel/{ours}").json() == {"thread_id": None, "run_id": ours}
    assert client.get(f"/api/assistant-runs/{ours}").json()["status"] == "CANCELLED"
    assert client.post(f"/api/assistant-runs/{theirs}/cancel").json()["status"] == "CANCELLED"
    assert client.get(f"/v1/orchestrate/runs/{theirs}").json()["status"] == "cancelled"


def test_the_last_page_of_all_runs_holds_the_newest(client, create):
    """What the evaluation client does: learn the total, then ask for the end."""
    runs = [create()["run_id"] for _ in range(3)]
    total = client.get("/v1/orchestrate/runs", params={"limit": 1, "offset": 0}).json()["total"]
    page = client.get("/v1/orchestrate/runs", params={"limit": 2, "offset": total - 2}).json()
    assert {run["id"] for run in page["data"]} <= set(runs)
    assert len(page["data"]) == 2


def test_a_run_without_an_agent_is_one_of_the_default_assistant(client):
    answers = [
        client.post("/v1/orchestrate/runs", json={"message": {"role": "user", "content": "Hi"}}).json()
        for _ in range(2)
    ]
    agents = {client.get(f"/v1/orchestrate/runs/{made['run_id']}").json()["agent_id"] for made in answers}
    assert len(agents) == 1
    (agent,) = client.get("/v1/orchestrate/agents").json()
    assert (agent["id"], agent["name"]) == (agents.pop(), "default")


def test_a_success_has_its_result_in_the_message_form_and_its_exchange_on_the_thread(client, create, move):
    made = create()
    move(made["run_id"], Trigger.CLAIM, Trigger.START, Trigger.SUCCEED)
    run = client.get(f"/v1/orchestrate/runs/{made['run_id']}").json()
    assert run["status"] == "completed"
    assert run["completed_at"]
    tokens = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert run["usage"] == {
        "token_usage": tokens,
        "model_usage": [{"model_name": None, "provider": None, "token_usage": tokens}],
    }
    result = run["result"]
    assert result["type"] == "message_created"
    message = result["data"]["message"]
    assert message["content"] == [{"response_type": "text", "text": "So it goes", "id": "1"}]
    assert message["parent_message_id"] == made["message_id"]
    said = client.get(f"/v1/threads/{made['thread_id']}/messages").json()
    assert [(one["role"], one["content"][0]["text"]) for one in said] == [
        ("user", "Listen"),
        ("assistant", "So it goes"),
    ]
    assert said[0]["id"] == made["message_id"]
    assert said[1]["id"] == message["id"] == result["data"]["message_id"]
    one = client.get(f"/v1/threads/{made['thread_id']}/messages/{message['id']}").json()
    assert one == said[1]


def test_a_failure_says_why_under_both_names(client, create, move):
    run_id = create()["run_id"]
    move(run_id, Trigger.CLAIM, Trigger.START, Trigger.FAIL)
    run = client.get(f"/v1/orchestrate/runs/{run_id}").json()
    assert (run["status"], run["last_error"], run["error"]) == ("failed", "It broke.", "It broke.")
    assert run["failed_at"]
    assert run["completed_at"] is None


def names(client, run_id):
    return [event["event"] for event in client.get(f"/v1/orchestrate/runs/{run_id}/events").json()]


def test_the_events_of_every_ending(client, create, move):
    endings = {
        (Trigger.CLAIM, Trigger.START, Trigger.SUCCEED): [
            *("run.started", "message.started", "message.created", "message.completed", "run.completed"),
            "done",
        ],
        (Trigger.CLAIM, Trigger.START, Trigger.FAIL): [
            "run.started",
            "message.started",
            "run.failed",
            "done",
        ],
        (Trigger.CANCEL,): ["run.cancelled", "done"],
    }
    for triggers, expected in endings.items():
        made = create()
        move(made["run_id"], *triggers)
        assert names(client, made["run_id"]) == expected
        events = client.get(f"/v1/orchestrate/runs/{made['run_id']}/events").json()
        assert {event["data"]["thread_id"] for event in events} == {made["thread_id"]}
        ids = [tuple(map(int, event["id"].split("-"))) for event in events]
        assert ids == sorted(ids)
        assert len(set(ids)) == len(ids)


def test_a_thread_is_made_changed_listed_by_its_agent_and_deleted(client, agent):
    answer = client.post("/v1/threads", json={"title": "Ilium", "agent_id": agent})
    assert answer.status_code == 201
    thread_id = answer.json()["thread_id"]
    assert answer.headers["location"] == f"/threads/{thread_id}"
    assert client.patch(f"/v1/threads/{thread_id}", json={"title": "Dresden"}).json()["title"] == "Dresden"
    (listed,) = client.get("/v1/threads", params={"agent_id": agent}).json()
    assert (listed["id"], listed["agent_id"], listed["status"]) == (thread_id, agent, "ready")
    assert client.get("/v1/threads", params={"agent_id": str(uuid.uuid4())}).json() == []
    assert client.get(f"/v1/orchestrate/threads/{thread_id}").json()["id"] == thread_id
    assert client.delete(f"/v1/threads/{thread_id}").status_code == 204
    assert client.get(f"/v1/threads/{thread_id}").status_code == 404


def test_a_thread_that_was_made_for_no_agent_is_that_of_its_first_run(
    client, create, agent, make_assistant, sessions
):
    thread_id = client.post("/v1/threads", json={"title": "Ilium"}).json()["thread_id"]
    assert client.get(f"/v1/threads/{thread_id}").json()["agent_id"] is None
    create(thread_id=thread_id)
    later = create(thread_id=thread_id, agent_id=str(make_assistant().id))["run_id"]
    with unit_of_work(sessions) as session:  # the clock stands still in a test
        session.get_one(Run, uuid.UUID(later)).created_at += timedelta(seconds=1)
    new_thread_id = create()["thread_id"]
    listed = {thread["id"]: thread["agent_id"] for thread in client.get("/v1/threads").json()}
    assert listed == {thread_id: agent, new_thread_id: agent}
    for listed_id in listed:
        thread = client.get(f"/v1/threads/{listed_id}").json()
        assert (thread["agent_id"], thread["assistant_id"]) == (agent, agent)
    assert client.patch(f"/v1/threads/{thread_id}", json={"title": "Dresden"}).json()["agent_id"] == agent


def test_an_enabled_guardrail_is_refused_rather_than_left_out(client, agent):
    pii = {"pii": {"input": {"enabled": True}}}
    answer = client.post("/v1/orchestrate/runs", json={"agent_id": agent, "guardrails": pii})
    assert answer.status_code == 422
    (fault,) = answer.json()["detail"]
    assert fault["loc"] == ["body", "guardrails", "pii"]
    assert "No detector" in fault["msg"]
    off = {"pii": {"input": {"enabled": False, "threshold": 0.5}}}
    message = {"role": "user", "content": "x"}
    made = client.post(
        "/v1/orchestrate/runs", json={"agent_id": agent, "guardrails": off, "message": message}
    ).json()
    assert client.get(f"/v1/orchestrate/runs/{made['run_id']}").json()["guardrails"] == off


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 2.5},
        {"top_k": 0},
        {"decoding_method": "guess"},
        {"stop_sequences": []},
        {"random_seed": 0},
        {"length_penalty": {"decay_factor": 1}},
        {"max_new_tokens": "many"},
    ],
    ids=str,
)
def test_parameters_beyond_their_range_are_a_422_that_says_where(client, agent, wrong):
    answer = client.post("/v1/orchestrate/runs", json={"agent_id": agent, "llm_params": wrong})
    assert answer.status_code == 422
    (name,) = wrong
    assert answer.json()["detail"][0]["loc"][:3] == ["body", "llm_params", name]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 422), (b'{"thread_id": 5}', 422), (b"[]", 422), (b'{"environment_id": "", "x": 1}', 200)],
)
def test_bodies_are_read_as_strictly_as_needed(client, agent, content, status):
    answer = client.post(f"/v1/assistants/{agent}/runs", content=content)
    assert answer.status_code == status, answer.text
    assert status == 200 or isinstance(answer.json()["detail"], list)


def test_errors_are_of_this_dialect(client, agent):
    unknown = str(uuid.uuid4())
    for answer, status in (
        (client.get("/v1/threads", headers={"Authorization": "Bearer nobody"}), 401),
        (client.get(f"/v1/orchestrate/runs/{unknown}"), 404),
        (client.get("/v1/orchestrate/runs/no-id"), 404),
        (client.get(f"/v1/assistants/{unknown}/runs"), 404),
        (client.get("/v1/nothing"), 404),
        (client.get("/v1/threads/%0A"), 404),  # no route at all takes a line end
        (client.delete("/v1/threads"), 405),
        (client.post("/v1/orchestrate/runs", json={"thread_id": unknown}), 404),
        (client.post("/v1/orchestrate/runs", content=b"x" * 2_000_000), 413),
    ):
        assert answer.status_code == status, answer.text
        assert isinstance(answer.json()["detail"], str)


def test_another_organizations_things_are_unknown(client, create, as_stranger):
    made = create()
    for path in (f"orchestrate/runs/{made['run_id']}", f"threads/{made['thread_id']}"):
        assert client.get(f"/v1/{path}", headers=as_stranger).status_code == 404
    assert client.get("/v1/orchestrate/runs", headers=as_stranger).json()["data"] == []
    assert client.get("/v1/threads", headers=as_stranger).json() == []


STATUS_MAP = {
    "QUEUED": "pending",
    "STARTING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.lists(st.integers(0, 6), max_size=6))
def test_one_run_is_told_alike_at_both_doors_at_every_status(client, create, move, choices):
    """A walk through the lifecycle: whatever happens, both dialects say the same."""
    run_id = create()["run_id"]
    status = RunStatus.QUEUED
    for choice in [None, *choices]:
        if choice is not None:
            legal = [trigger for trigger in Trigger if status in TRANSITIONS[trigger]]
            if not legal:
                break
            trigger = legal[choice % len(legal)]
            move(run_id, trigger)
            status = TRANSITIONS[trigger][status]
        ours = client.get(f"/api/assistant-runs/{run_id}").json()
        theirs = client.get(f"/v1/orchestrate/runs/{run_id}").json()
        assert ours["status"] == status
        assert theirs["status"] == STATUS_MAP[status]
        ends = [theirs[name] for name in ("completed_at", "failed_at", "cancelled_at")]
        assert [end for end in ends if end] == ([ours["completed_at"]] if status in TERMINAL else [])
        assert (theirs["result"] is not None) == (status == "SUCCEEDED")
        assert (theirs["error"] is not None) == (status in {"FAILED", "ERROR"})
        said = names(client, run_id)
        assert (said[-1:] == ["done"]) == (status in TERMINAL)
        assert said.count("done") == (status in TERMINAL)


@pytest.mark.parametrize("path", ["runs?stream=true", "runs/stream?"])
def test_a_stream_is_lines_of_json_and_ends_in_time(served, committed_sessions, path):
    """Every line is an event: no prefix, no blank line, no comment. Nobody executes this run."""
    body = {"message": {"role": "user", "content": "Listen"}}
    with served.client.stream("POST", f"/v1/orchestrate/{path}&stream_timeout=1500", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.read() == b""
    with unit_of_work(committed_sessions) as session:
        run = session.scalars(select(Run)).one()
        cancel_by(session, RecordingDispatcher(), run.id, requested_by="me")
    body["thread_id"] = str(run.thread_id)
    events = served.client.get(f"/v1/orchestrate/runs/{run.id}/events").json()
    assert [event["event"] for event in events] == ["run.cancelled", "done"]


def test_the_document_is_this_dialects_own(anonymous):
    document = anonymous.get("/api/v1/openapi.json").json()
    assert "/orchestrate/runs/cancel/{run_id}" in document["paths"]
    assert not [path for path in document["paths"] if path.startswith("/assistant-runs")]
    main = anonymous.get("/openapi.json").json()
    assert not [path for path in main["paths"] if "orchestrate" in path]
