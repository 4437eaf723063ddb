"""watsonx Orchestrate's own clients, in an environment of their own, and what they leave unasked."""

import json
import uuid

import pytest

from tests.conformance.outside import execute

pytestmark = pytest.mark.timeout(300)

CLIENT = "ibm_watsonx_orchestrate_clients-2.19.1"

PREAMBLE = """
import json, sys
from ibm_watsonx_orchestrate_clients.chat.run_client import RunClient
from ibm_watsonx_orchestrate_clients.threads.threads_client import ThreadsClient
base_url, api_key, *args = sys.argv[1:]
options = {"base_url": base_url, "api_key": api_key, "is_local": True}
runs, threads = RunClient(**options), ThreadsClient(**options)
"""


@pytest.fixture(params=["", "/api"])
def clients(request, stack):
    """Execute a program with the real `runs` and `threads`; return the JSON that it prints last."""

    def run(program, *args):
        known = stack.file["api_url"] + request.param, stack.file["api_key"]
        return execute(CLIENT, PREAMBLE, program, *known, *args, home=stack.data_dir)

    return run


CREATE_AND_WAIT = """
    created = runs.create_run("Hello", agent_id=args[0])
    ended = runs.wait_for_run_completion(created["run_id"], poll_interval=1, max_retries=60)
    print(json.dumps([created, ended]))
"""


def test_a_run_is_created_and_waited_for(stack, clients):
    created, ended = clients(CREATE_AND_WAIT, stack.create_assistant(model="openai/words-3"))
    assert set(created) == {"thread_id", "run_id", "task_id", "message_id"}
    assert ended["status"] == "completed"
    assert ended["result"]["data"]["message"]["content"][0]["text"] == "word0 word1 word2 "
    assert ended["usage"]["token_usage"]["total_tokens"] > 0
    assert ended["error"] is None


def test_a_failure_is_waited_for_and_says_why(stack, clients):
    _, ended = clients(CREATE_AND_WAIT, stack.create_assistant(model="openai/garbage"))
    assert ended["status"] == "failed"
    assert ended["error"] == ended["last_error"] != ""


def test_a_cancelled_run_ends_the_wait(stack, clients):
    agent = stack.create_assistant(model="openai/hang")
    made = stack.client.post(
        "/v1/orchestrate/runs", json={"agent_id": agent, "message": {"role": "user", "content": "x"}}
    ).json()
    stack.wait_for(made["run_id"], "RUNNING")
    answer = stack.client.post(f"/v1/orchestrate/runs/cancel/{made['run_id']}")
    assert answer.json() == {"thread_id": made["thread_id"], "run_id": made["run_id"]}
    wait = "print(json.dumps(runs.wait_for_run_completion(args[0], poll_interval=1, max_retries=30)))"
    assert clients(wait, made["run_id"])["status"] == "cancelled"


def test_threads_and_their_messages_are_read_and_continued(stack, clients):
    agent = stack.create_assistant(model="openai/words-2")
    listed, messages, again = clients(
        """
        first = runs.create_run("One", agent_id=args[0])
        runs.wait_for_run_completion(first["run_id"], poll_interval=1, max_retries=60)
        second = runs.create_run("Two", agent_id=args[0], thread_id=first["thread_id"])
        runs.wait_for_run_completion(second["run_id"], poll_interval=1, max_retries=60)
        listed = threads.get_all_threads(args[0])
        messages = threads.get_thread_messages(first["thread_id"])
        print(json.dumps([listed, messages, second]))
        """,
        agent,
    )
    assert [thread["id"] for thread in listed] == [again["thread_id"]]
    assert [(one["role"], one["content"][0]["text"]) for one in messages] == [
        ("user", "One"),
        ("assistant", "word0 word1 "),
        ("user", "Two"),
        ("assistant", "word0 word1 "),
    ]
    assert messages[2]["id"] == again["message_id"] == messages[3]["parent_message_id"]


def test_a_refusal_is_the_clients_own_exception(clients):
    status, detail = clients(
        """
        from ibm_watsonx_orchestrate_clients.common.base_client import ClientAPIException
        try:
            runs.get_run_status(args[0])
        except ClientAPIException as refusal:
            print(json.dumps([refusal.response.status_code, refusal.response.json()["detail"]]))
        """,
        str(uuid.uuid4()),
    )
    assert status == 404
    assert "no such run" in detail


def test_a_stream_is_events_line_by_line_in_order_and_as_they_are_stored(stack):
    """What no client looks at, but some parse."""
    body = {
        "message": {"role": "user", "content": "Hello"},
        "agent_id": stack.create_assistant(model="openai/words-40-20"),
    }
    with stack.client.stream("POST", "/v1/orchestrate/runs?stream=true", json=body) as answer:
        assert answer.status_code == 200
        text = answer.read().decode()
    assert text.endswith("\n")
    events = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    names = [event["event"] for event in events]
    assert names[:3] == ["run.started", "message.started", "run.step.intermediate"]
    assert names[-4:] == ["message.created", "message.completed", "run.completed", "done"]
    assert set(names[3:-4]) == {"message.delta"}
    assert len({event["data"]["thread_id"] for event in events}) == 1
    said = "".join(
        event["data"]["delta"]["content"][0]["text"] for event in events if event["event"] == "message.delta"
    )
    created = next(event["data"] for event in events if event["event"] == "message.created")
    assert said == created["message"]["content"][0]["text"]
    assert stack.client.get(f"/v1/orchestrate/runs/{created['run_id']}/events").json() == events
    messages = stack.client.get(f"/v1/threads/{created['thread_id']}/messages").json()
    assert messages[-1]["id"] == created["message_id"]


def test_what_a_driver_cannot_honour_is_named(stack, llm):
    agent = stack.create_assistant(model="openai/words-2")
    body = {
        "message": {"role": "user", "content": f"Hello {uuid.uuid4()}"},
        "agent_id": agent,
        "llm_params": {"temperature": 0.25, "top_p": 0.5, "max_new_tokens": 7, "beam_width": 2, "top_k": 5},
    }
    run_id = stack.client.post("/v1/orchestrate/runs", json=body).json()["run_id"]
    run = stack.wait_for(run_id)
    assert run["status_detail"]["ignored_llm_params"] == ["beam_width", "top_k"]
    (sent,) = [
        request["body"]
        for request in llm.records.requests
        if body["message"]["content"] in str(request["body"].get("messages"))
    ]
    assert (sent["temperature"], sent["top_p"]) == (0.25, 0.5)
    assert 7 in {sent.get("max_tokens"), sent.get("max_completion_tokens")}
