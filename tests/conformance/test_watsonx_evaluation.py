"""watsonx Orchestrate's own evaluation client, in an environment of its own."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from shared.db import unit_of_work
from shared.lifecycle import Trigger
from shared.models import Run
from shared.runs import moves, transitions
from tests.conformance.outside import execute
from tests.integration.api.serving import serving
from tests.support.dispatching import RecordingDispatcher
from tests.support.factories import LEASE, WORKER
from tests.support.nginx import running_nginx
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

CLIENT = "ibm_watsonx_orchestrate_evaluation_framework-1.5.2"

PREAMBLE = """
import json, sys
from agentops.record import record_chat
from agentops.runtime_adapter.wxo_runtime_adapter import WXORuntimeAdapter
from agentops.type import CallTracker, ContentType, Message
from agentops.wxo_client import WXOClient

# The client's login at IBM, which is not what is tested: before every call it looks into the key, which
# is no token of IBM's, and would get another by what a configuration file says.
WXOClient._refresh_token = lambda self: None

base_url, api_key, agent_name, *args = sys.argv[1:]
client = WXOClient(base_url, api_key)
adapter = WXORuntimeAdapter(client)

def say(text, thread_id=None):
    context = {"agent_name": agent_name, "call_tracker": CallTracker()}
    return adapter.run(Message(role="user", content=text, type=ContentType.text), context, thread_id)

def dump(messages):
    return [message.model_dump(mode="json") for message in messages]
"""


@pytest.fixture
def evaluate(stack, unique):
    """Execute a program with the real adapter and a new agent; return the JSON that it prints last."""

    def evaluate(program, *args, **assistant):
        stack.create_assistant(name=unique, **assistant)
        known = stack.file["api_url"], stack.file["api_key"], unique
        return execute(CLIENT, PREAMBLE, program, *known, *args, home=stack.data_dir)

    return evaluate


def test_a_conversation_is_streamed_to_its_end_and_found_again(evaluate, unique):
    turns, threads, stored, agent = evaluate(
        """
        first = say("One")
        second = say("Two", first.thread_id)
        stored = adapter.get_messages(first.thread_id)
        agent = adapter.get_agent_name_from_thread_id(first.thread_id)
        turns = [dump(turn.messages) for turn in (first, second)]
        print(json.dumps([turns, [first.thread_id, second.thread_id], dump(stored), agent]))
        """,
        model="openai/words-2",
    )
    for turn in turns:
        (answer,) = turn
        assert (answer["role"], answer["type"], answer["content"]) == ("assistant", "text", "word0 word1 ")
        # Else the stream has told too little, and the client has read the thread instead.
        assert answer["event"] == "message.created"
    assert threads[0] == threads[1] != ""
    assert [(one["role"], one["content"]) for one in stored] == [
        ("user", "One"),
        ("assistant", "word0 word1 "),
        ("user", "Two"),
        ("assistant", "word0 word1 "),
    ]
    assert agent == unique


def test_a_tool_call_its_response_and_the_answer_are_told_apart(stack, evaluate):
    sample = stack.client.post("/api/structures", json={"name": "The sample", "description": "Says it back"})
    (call, response, answer), (interaction,), stored, takes_files = evaluate(
        """
        said = say("Use the tool.")
        interactions = record_chat.extract_tool_interactions(said.messages)
        stored = adapter.get_messages(said.thread_id)
        takes_files = adapter.tool_has_binary_input(interactions[0]["tool_name"])
        print(json.dumps([dump(said.messages), interactions, dump(stored), takes_files]))
        """,
        model="openai/tool",
        structure_ids=[sample.json()["structure_id"]],
    )
    assert [one["type"] for one in (call, response, answer)] == ["tool_call", "tool_response", "text"]
    assert json.loads(response["content"])["tool_call_id"] == call["tool_call_id"] != ""
    assert answer["content"] == "word0 word1 word2 word3 word4 "
    assert [(one["role"], one["type"]) for one in stored] == [
        ("user", "text"),
        ("assistant", "tool_call"),
        ("assistant", "tool_response"),
        ("assistant", "text"),
    ]
    assert (stored[1]["content"], stored[2]["content"]) == (call["content"], response["content"])
    assert takes_files is False
    assert interaction == {
        "tool_call_id": call["tool_call_id"],
        "tool_name": "TheSample",
        "tool_args": {"args": ["from", "the", "model"]},
        "tool_response": "from the model",
        "success": True,
    }


@pytest.mark.full_length
def test_a_recording_takes_up_what_has_been_said_since_it_began(evaluate, unique, tmp_path):
    """The client lists the newest runs, parses their instants, and asks their threads who said what."""
    newest = evaluate(
        """
        from types import SimpleNamespace
        from agentops.arg_configs import ChatRecordingConfig

        def log_in(*_):
            say("For the record")  # in here, as only what starts after the recording is taken up
            return client

        def annotate(agent_name, messages, config):
            return {"agent": agent_name, "messages": dump(messages)}

        def interrupt(_seconds):
            raise KeyboardInterrupt

        record_chat.get_wxo_client = log_in
        record_chat.annotate_messages = annotate  # in place of what a model would make of them
        record_chat.time = SimpleNamespace(sleep=interrupt)  # before it looks again, which it does for ever
        record_chat.record_chats(ChatRecordingConfig(args[0], service_url=base_url, token=api_key))
        print(json.dumps(record_chat.get_recent_runs(client, limit=1)))
        """,
        str(tmp_path),
        model="openai/words-2",
    )
    (thread_id,) = [run["thread_id"] for run in newest]
    recorded = json.loads((tmp_path / f"{thread_id}_annotated_data.json").read_text())
    assert (recorded["thread_id"], recorded["agent"]) == (thread_id, unique)
    assert [(one["role"], one["content"]) for one in recorded["messages"]] == [
        ("user", "For the record"),
        ("assistant", "word0 word1 "),
    ]


HEARTBEAT = 0.4  # seconds
GIVES_UP = 4.0  # seconds of silence after which the proxy gives up


@pytest.fixture
def proxied(committed_settings, factories, tmp_path):
    """The API behind an nginx, and nobody who executes anything: its address, and a key."""
    factories._principal, secret = factories.principal_and_secret()
    quick = {"stream_heartbeat": timedelta(seconds=HEARTBEAT)}
    with (
        serving(committed_settings.model_copy(update=quick), secret=secret) as served,
        running_nginx(tmp_path, served.client.base_url.port, read_timeout=GIVES_UP) as address,
    ):
        yield address, secret


def answer(session, run):
    """Do what a worker does."""
    claimed = moves.claim(session, RecordingDispatcher(), run.id, attempt=1, worker=WORKER, lease_ttl=LEASE)
    transitions.apply(session, run.id, Trigger.START, attempt=claimed.attempt)
    values = {"output": {"type": "TextArtifact", "value": "At last"}}
    transitions.apply(session, run.id, Trigger.SUCCEED, attempt=claimed.attempt, values=values)


@pytest.mark.full_length
def test_an_answer_arrives_after_a_silence_that_a_proxy_does_not_bear(
    proxied, committed_sessions, factories, unique, tmp_path
):
    """The client parses every line; what keeps the line alive is before the next."""
    factories.assistant(name=unique)
    program = """
        said = say("Listen")
        print(json.dumps(dump(said.messages)))
    """

    def submitted():
        with unit_of_work(committed_sessions) as session:
            return session.scalars(select(Run)).one_or_none()

    with ThreadPoolExecutor(1) as pool:
        talk = pool.submit(execute, CLIENT, PREAMBLE, program, *proxied, unique, home=tmp_path)
        run = wait_until(lambda: talk.done() or submitted(), timeout=60, what="the run")
        silent_until = time.monotonic() + 1.25 * GIVES_UP
        wait_until(lambda: talk.done() or time.monotonic() > silent_until)
        assert not talk.done(), talk.result()
        with unit_of_work(committed_sessions) as session:
            answer(session, run)
        (message,) = talk.result()
    # Else the stream has told too little, and the client has read the thread instead.
    assert (message["content"], message["event"]) == ("At last", "message.created")
