"""The real clients, reading a run whose worker is killed in the middle of its answer."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from griptape.drivers.assistant.griptape_cloud import GriptapeCloudAssistantDriver
from griptape.events import TextChunkEvent
from griptape.structures import Agent
from griptape.tasks import AssistantTask
from griptape.utils import Stream

from tests.conformance.outside import execute
from tests.conformance.test_watsonx_evaluation import CLIENT, PREAMBLE
from tests.support.llm_stub import stalling_model
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

WORDS = [f"word{n}" for n in range(100)]


@pytest.fixture
def kill_worker(stack):
    """Kill the stack's worker as a machine that fails does; another is started in its place."""

    def kill_worker():
        victims = stack.children("worker")
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        psutil.wait_procs(victims, timeout=30)

    return kill_worker


@pytest.fixture
def assistant_id(stack):
    """An assistant whose runs may be begun again, and which says the same each time."""
    return stack.create_assistant(model=stalling_model(len(WORDS), after=10), max_attempts=3)


def test_the_frameworks_stream_ends_with_the_answer_and_nothing_twice(
    cloud, stack, assistant_id, kill_worker
):
    driver = GriptapeCloudAssistantDriver(**cloud, assistant_id=assistant_id, stream=True)
    agent = Agent(tasks=[AssistantTask("{{ args[0] }}", assistant_driver=driver)])
    said = ""
    is_killed = False
    for piece in Stream(agent, event_types=[TextChunkEvent]).run("Hi"):
        said += piece.value
        if not is_killed and len(said.split()) >= 10:
            kill_worker()
            is_killed = True
    assert is_killed
    assert said.split() == WORDS
    assert agent.output.value.split() == WORDS
    events = stack.client.get(f"/api/assistant-runs/{agent.output.meta['assistant_run_id']}/events")
    assert events.json()["events"][-1]["attempt"] == 2


def test_the_deltas_of_the_other_dialect_end_with_the_answer(stack, assistant_id, kill_worker):
    """As its clients read them: a line each, a message from its start, and what was created at the end."""
    body = {"agent_id": assistant_id, "message": {"role": "user", "content": "Hi"}}
    said, starts, created = "", 0, {}
    with stack.client.stream("POST", "/v1/orchestrate/runs?stream=true", json=body, timeout=120) as answer:
        for line in answer.iter_lines():
            match json.loads(line):
                case {"event": "message.started"}:
                    said, starts = "", starts + 1
                case {"event": "message.delta", "data": {"delta": {"content": [{"text": text}]}}}:
                    said += text
                    if starts == 1 and len(said.split()) >= 10:
                        kill_worker()
                        starts += 1
                case {"event": "message.created", "data": {"message": message}}:
                    created = message
    assert starts == 3, "the worker was not killed in time, or the message did not start again"
    assert said.split() == WORDS
    assert created["content"][0]["text"] == said
    thread = stack.client.get(f"/v1/threads/{created['thread_id']}/messages").json()
    assert [message["content"][0]["text"] for message in thread] == ["Hi", said]


def test_the_evaluation_client_ends_with_the_answer(stack, kill_worker, unique):
    agent_id = stack.create_assistant(name=unique, model=stalling_model(len(WORDS), after=10), max_attempts=3)
    known = stack.file["api_url"], stack.file["api_key"], unique
    program = """
        said = say("Hi")
        print(json.dumps([dump(said.messages), dump(adapter.get_messages(said.thread_id))]))
    """

    def run_that_speaks():
        for run in stack.client.get(f"/api/assistants/{agent_id}/runs").json()["assistant_runs"]:
            events = stack.client.get(f"/api/assistant-runs/{run['assistant_run_id']}/events").json()[
                "events"
            ]
            if "TextChunkEvent" in {event["type"] for event in events}:
                return run["assistant_run_id"]
        return None

    with ThreadPoolExecutor(1) as pool:
        talk = pool.submit(execute, CLIENT, PREAMBLE, program, *known, home=stack.data_dir)
        run_id = wait_until(run_that_speaks, timeout=60, what="an answer to begin")
        kill_worker()
        told, stored = talk.result(timeout=100)
    assert [one["content"].split() for one in told] == [WORDS]
    assert told[0]["event"] == "message.created"
    assert [one["content"].split() for one in stored] == [["Hi"], WORDS]
    assert stack.client.get(f"/api/assistant-runs/{run_id}/events").json()["events"][-1]["attempt"] == 2
