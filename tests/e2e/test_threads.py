"""Runs that share a conversation, on the real stack."""

import signal
import time

import psutil
import pytest

pytestmark = pytest.mark.timeout(300)


def messages(stack, thread_id):
    answer = stack.client.get(f"/api/threads/{thread_id}/messages")
    assert answer.status_code == 200
    return answer.json()["messages"]


def new_thread(stack):
    answer = stack.client.post("/api/threads", json={"name": "talk"})
    assert answer.status_code == 201
    return answer.json()["thread_id"]


def test_two_turns_remember(stack, llm):
    assistant_id = stack.create_assistant(model="openai/repeat")
    first = stack.create_run(assistant_id, args=["My name is Billy."], new_thread=True)
    thread_id = stack.wait_for(first)["thread_id"]
    second = stack.create_run(assistant_id, args=["Who am I?"], thread_id=thread_id)
    assert stack.wait_for(second)["status"] == "SUCCEEDED"
    sent = str(llm.records.requests[-1])
    assert "My name is Billy." in sent
    assert "Who am I?" in sent
    assert len(messages(stack, thread_id)) == 2


def test_runs_on_one_thread_go_one_at_a_time_in_their_order(stack):
    assistant_id, thread_id = stack.create_assistant(model="openai/words-5-40"), new_thread(stack)
    run_ids = [stack.create_run(assistant_id, args=[f"number {n}"], thread_id=thread_id) for n in range(4)]
    waiting = stack.run(run_ids[-1])
    assert waiting["status"] == "QUEUED"
    assert waiting["status_detail"]["reason"] == "WaitingForThread"
    runs = [stack.wait_for(run_id) for run_id in run_ids]
    assert {run["status"] for run in runs} == {"SUCCEEDED"}
    assert [one["index"] for one in messages(stack, thread_id)] == [0, 1, 2, 3]
    starts = [_instant(stack, run_id, "AssistantRunStarting") for run_id in run_ids]
    ends = [_instant(stack, run_id, "AssistantRunCompleted") for run_id in run_ids]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def _instant(stack, run_id, kind):
    events = stack.client.get(f"/api/assistant-runs/{run_id}/events").json()["events"]
    (instant,) = [event["created_at"] for event in events if event["type"] == kind]
    return instant


def test_the_next_run_starts_promptly_when_the_holder_is_cancelled(stack):
    assistant_id, thread_id = stack.create_assistant(), new_thread(stack)
    holder = stack.create_run(assistant_id, args=["Hi"], model="openai/hang", thread_id=thread_id)
    stack.wait_for(holder, "RUNNING")
    waiting = stack.create_run(assistant_id, args=["Hi"], thread_id=thread_id)
    assert stack.run(waiting)["status"] == "QUEUED"
    started = time.monotonic()
    stack.cancel(holder)
    assert stack.wait_for(waiting)["status"] == "SUCCEEDED"
    assert time.monotonic() - started < 15  # the model would hang for two minutes
    assert len(messages(stack, thread_id)) == 1


def test_the_next_run_starts_when_the_holder_is_lost(stack):
    assistant_id, thread_id = stack.create_assistant(), new_thread(stack)
    holder = stack.create_run(assistant_id, args=["Hi"], model="openai/hang", thread_id=thread_id)
    stack.wait_for(holder, "RUNNING")
    waiting = stack.create_run(assistant_id, args=["Hi"], thread_id=thread_id)
    victims = stack.children("worker")
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=30)
    assert stack.wait_for(holder, timeout=60)["status"] == "ERROR"
    assert stack.wait_for(waiting, timeout=60)["status"] == "SUCCEEDED"


def test_rules_reach_the_model(stack, llm):
    rule = stack.client.post("/api/rules", json={"name": "tone", "rule": "Answer like a pirate."}).json()
    ruleset = stack.client.post(
        "/api/rulesets", json={"name": "Manners", "rule_ids": [rule["rule_id"]]}
    ).json()
    assistant_id = stack.create_assistant(model="openai/words-3", ruleset_ids=[ruleset["ruleset_id"]])
    run_id = stack.create_run(assistant_id, args=["Ahoy"])
    assert stack.wait_for(run_id)["status"] == "SUCCEEDED"
    assert "Answer like a pirate." in str(llm.records.requests[-1])
    stack.wait_for(stack.create_run(assistant_id, args=["Ahoy"], ruleset_ids=[]))
    assert "Answer like a pirate." not in str(llm.records.requests[-1])
