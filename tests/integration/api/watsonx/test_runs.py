"""Runs of the watsonx Orchestrate dialect: ours, in other words, under two prefixes."""

import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.lifecycle import TERMINAL, TRANSITIONS, Reason, RunStatus, Trigger

FIELDS = {
    *("id", "tenant_id", "assistant_id", "agent_id", "thread_id", "status", "created_at", "started_at"),
    *("completed_at", "failed_at", "cancelled_at", "llm_params", "usage", "last_error", "error", "result"),
    *("guardrails", "additional_parameters", "trace_id", "status_detail"),
}


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
        "model_usage": [{"model_name": "words-2", "provider": None, "token_usage": tokens}],
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
    return [
        event["event"]
        for event in client.get(f"/v1/orchestrate/runs/{run_id}/events?stream_timeout=0").json()
    ]


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


def test_an_enabled_guardrail_without_a_detector_is_refused_rather_than_left_out(client, agent):
    hap = {"hap": {"input": {"enabled": True}}, "pii": {"output": {"enabled": True}}}
    answer = client.post("/v1/orchestrate/runs", json={"agent_id": agent, "guardrails": hap})
    assert answer.status_code == 422
    (fault,) = answer.json()["detail"]
    assert fault["loc"] == ["body", "guardrails", "hap"]
    assert "No detector for the guardrail 'hap'" in fault["msg"]


@pytest.mark.parametrize(
    ("wrong", "loc"),
    [
        ({"profanity": {"output": {"enabled": True}}}, ["profanity"]),
        ({"pii": {"ouput": {"enabled": True}}}, ["pii", "ouput"]),
        ({"pii": {"input": {"enable": True}}}, ["pii", "input", "enable"]),
        ({"pii": {"input": {"enabled": True, "threshold": 2}}}, ["pii", "input", "threshold"]),
        ({"pii": {"mask": {"remove": True}}}, ["pii", "mask", "remove"]),
    ],
    ids=str,
)
def test_a_guardrail_that_nobody_would_keep_as_it_is_written_is_refused(client, agent, wrong, loc):
    answer = client.post("/v1/orchestrate/runs", json={"agent_id": agent, "guardrails": wrong})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "guardrails", *loc]


@pytest.mark.parametrize(
    "guardrails",
    [
        {"prompt_safety_risk": {"input": {"enabled": False}}, "pii": None},
        {"hap": {"input": {"enabled": False, "threshold": 0.5}}},
        {"pii": {"input": {"enabled": True}, "mask": {"remove_entity_value": True}}},
    ],
    ids=["others", "none is enabled", "a detector is there"],
)
def test_other_guardrails_are_kept_as_they_were_given(client, create, guardrails):
    made = create(guardrails=guardrails)
    assert client.get(f"/v1/orchestrate/runs/{made['run_id']}").json()["guardrails"] == guardrails


def test_a_path_and_a_body_that_name_two_agents_are_refused(client, agent, make_assistant):
    answers = [
        client.post(f"/v1/assistants/{agent}/runs", json={"agent_id": named}).status_code
        for named in (agent, str(make_assistant().id), "")
    ]
    assert answers == [200, 422, 200]


def test_a_create_that_is_sent_again_after_its_thread_was_deleted_is_answered(client, agent):
    def create():
        return client.post(
            "/v1/orchestrate/runs", json={"agent_id": agent}, headers={"Idempotency-Key": "once"}
        )

    made = create().json()
    assert client.delete(f"/v1/threads/{made['thread_id']}").status_code == 204
    assert create().json() == {**made, "thread_id": None}


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
        (client.get("/v1/threads/a%0Ab"), 404),  # and no mount takes one within
        (client.delete("/v1/threads"), 405),
        (client.post("/v1/orchestrate/runs", json={"thread_id": unknown}), 404),
        (client.post("/v1/orchestrate/runs", content=b"x" * 2_000_000), 413),
    ):
        assert answer.status_code == status, answer.text
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("message", "place", "said"),
    [
        ({"role": "robot", "content": "Hi"}, "role", "Input should be 'user' or 'assistant'"),
        ({"role": "", "content": "Hi"}, "role", "Input should be 'user' or 'assistant'"),
        ({"role": "user", "content": ""}, "content", "The message has to hold a text."),
        ({"role": "user", "content": " \n"}, "content", "The message has to hold a text."),
        ({"role": "user", "content": []}, "content", "The message has to hold a text."),
        (
            {"role": "user", "content": [{"response_type": "image"}]},
            "content",
            "The message has to hold a text.",
        ),
    ],
)
def test_a_message_of_an_unknown_role_or_without_a_text_is_refused(client, message, place, said):
    answer = client.post("/v1/orchestrate/runs", json={"message": message})
    assert answer.status_code == 422
    (fault,) = answer.json()["detail"]
    assert fault["loc"] == ["body", "message", place]
    assert fault["msg"] == said


@pytest.mark.parametrize("role", ["user", "human", "assistant"])
def test_a_message_of_every_role_that_clients_send_is_taken(create, role):
    assert create(message={"role": role, "content": "Hi"})["run_id"]


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


ENDINGS = st.sampled_from([Reason.WORKER_LOST, Reason.TIMED_OUT, Reason.EXPIRED, Reason.MODEL_FAILED])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.lists(st.integers(0, 6), max_size=6), reason=ENDINGS)
def test_one_run_is_told_alike_at_both_doors_at_every_status(client, create, move, choices, reason):
    """A walk through the lifecycle: whatever happens, both dialects say the same."""
    run_id = create()["run_id"]
    status = RunStatus.QUEUED
    for choice in [None, *choices]:
        if choice is not None:
            legal = [trigger for trigger in Trigger if status in TRANSITIONS[trigger]]
            if not legal:
                break
            trigger = legal[choice % len(legal)]
            move(run_id, trigger, reason=reason)
            status = TRANSITIONS[trigger][status]
        expires = status == "ERROR" and reason in {Reason.TIMED_OUT, Reason.EXPIRED}
        ours = client.get(f"/api/assistant-runs/{run_id}").json()
        theirs = client.get(f"/v1/orchestrate/runs/{run_id}").json()
        assert ours["status"] == status
        assert theirs["status"] == ("expired" if expires else STATUS_MAP[status])
        assert theirs["status_detail"] == ours.get("status_detail")
        ends = [theirs[name] for name in ("completed_at", "failed_at", "cancelled_at")]
        assert [end for end in ends if end] == ([ours["completed_at"]] if status in TERMINAL else [])
        assert (theirs["result"] is not None) == (status == "SUCCEEDED")
        assert (theirs["error"] is not None) == (status in {"FAILED", "ERROR"})
        said = names(client, run_id)
        assert (said[-1:] == ["done"]) == (status in TERMINAL)
        assert said.count("done") == (status in TERMINAL)
        if status in TERMINAL:
            assert said[-2] == f"run.{theirs['status']}"


def test_the_document_is_this_dialects_own(anonymous):
    document = anonymous.get("/api/v1/openapi.json").json()
    assert "/orchestrate/runs/cancel/{run_id}" in document["paths"]
    assert not [path for path in document["paths"] if path.startswith("/assistant-runs")]
    main = anonymous.get("/openapi.json").json()
    assert not [path for path in main["paths"] if "orchestrate" in path]
