"""The framework's conversation memory driver, unmodified: what it stores it loads, and nothing is lost."""

import json

import pytest
from griptape.artifacts import ListArtifact, TextArtifact
from griptape.drivers.assistant.griptape_cloud import GriptapeCloudAssistantDriver
from griptape.drivers.memory.conversation.griptape_cloud import GriptapeCloudConversationMemoryDriver
from griptape.memory.structure import ConversationMemory, Run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def make_driver(cloud):
    """A driver as a user makes it."""
    return lambda **options: GriptapeCloudConversationMemoryDriver(**cloud, **options)


def exchange(n):
    return Run(input=TextArtifact(f"in {n}"), output=TextArtifact(f"out {n}"))


def texts(runs):
    return [(run.input.value, run.output.value) for run in runs]


def test_what_is_stored_is_loaded(make_driver):
    runs = [exchange(n) for n in range(3)]
    driver = make_driver()
    driver.store(runs, {})
    loaded, metadata = make_driver(thread_id=driver.thread_id).load()
    assert [run.id for run in loaded] == [run.id for run in runs]
    assert [run.input.to_dict() for run in loaded] == [run.input.to_dict() for run in runs]
    assert [run.output.to_dict() for run in loaded] == [run.output.to_dict() for run in runs]
    assert metadata == {}


def test_any_artifact_comes_back_as_it_was(make_driver):
    parts = ListArtifact([TextArtifact("Tralfamadore\n\"'\\ \u2603")])
    driver = make_driver()
    driver.store([Run(input=parts, output=TextArtifact(""))], {})
    (run,), _ = driver.load()
    assert isinstance(run.input, ListArtifact)
    assert run.input.to_dict() == parts.to_dict()
    assert run.output.value == ""


# Most of its time goes to the framework, which takes milliseconds to encode or decode one artifact.
@pytest.mark.parametrize("count", [120, pytest.param(500, marks=pytest.mark.full_length)])
def test_many_exchanges_are_kept(make_driver, unique, count):
    runs = [exchange(n) for n in range(count)]
    make_driver(alias=unique).store(runs, {})
    loaded, _ = make_driver(alias=unique).load()
    assert texts(loaded) == texts(runs)
    assert [run.id for run in loaded] == [run.id for run in runs]


def test_a_store_replaces_what_was_there(make_driver):
    driver = make_driver()
    driver.store([exchange(1), exchange(2)], {})
    driver.store([exchange(3)], {})
    assert texts(driver.load()[0]) == [("in 3", "out 3")]
    driver.store([], {})
    assert driver.load()[0] == []


def test_a_thread_is_found_by_its_exact_alias(make_driver, unique):
    driver = make_driver(alias=unique)
    driver.store([exchange(1)], {})
    same = make_driver(alias=unique)
    assert texts(same.load()[0]) == [("in 1", "out 1")]
    assert same.thread_id == driver.thread_id
    for stranger in (unique.upper(), unique[:-1], f"{unique}."):
        assert make_driver(alias=stranger).load()[0] == []


def test_a_thread_id_of_nobody_falls_back_to_the_alias(make_driver, unique):
    make_driver(alias=unique).store([exchange(1)], {})
    driver = make_driver(thread_id="00000000-0000-4000-8000-000000000000", alias=unique)
    assert driver.thread["alias"] == unique
    assert driver.thread_id == driver.thread["thread_id"]


def test_what_a_conversation_says_of_itself_is_no_error(make_driver):
    driver = make_driver()
    run = Run(input=TextArtifact("in"), output=TextArtifact("out"), meta={"colour": "blue", "n": [1]})
    driver.store([run], {"topic": "war", "metadata": {"year": 1945}, "message_count": 7})
    (loaded,), metadata = driver.load()
    assert metadata == {"year": 1945}
    assert (loaded.id, loaded.input.value) == (run.id, "in")
    assert driver.thread["message_count"] == 1


def test_a_conversation_memory_goes_on_where_another_left_off(make_driver, unique):
    first = ConversationMemory(conversation_memory_driver=make_driver(alias=unique))
    first.add_run(exchange(1))
    second = ConversationMemory(conversation_memory_driver=make_driver(alias=unique))
    assert texts(second.runs) == [("in 1", "out 1")]
    second.add_run(exchange(2))
    assert texts(make_driver(alias=unique).load()[0]) == [("in 1", "out 1"), ("in 2", "out 2")]


def test_the_exchange_of_an_assistant_run_can_be_loaded(make_driver, cloud, stack):
    assistant_id = stack.create_assistant(model="openai/words-2")
    assistant = GriptapeCloudAssistantDriver(**cloud, assistant_id=assistant_id)
    assistant.run(TextArtifact("Hi"))
    (run,), _ = make_driver(thread_id=assistant.thread_id).load()
    assert isinstance(run.input, TextArtifact)
    assert (run.input.value, run.output.value.split()) == ("Hi", ["word0", "word1"])


def test_an_assistant_remembers_what_the_memory_driver_stored(make_driver, cloud, stack, prompts, unique):
    memory = make_driver()
    memory.store([exchange(1)], {})
    assistant_id = stack.create_assistant(model="openai/words-2")
    options = {"assistant_id": assistant_id, "thread_id": memory.thread_id}
    GriptapeCloudAssistantDriver(**cloud, **options).run(TextArtifact(unique))
    (messages,) = prompts(unique)
    assert [message["content"] for message in messages if message["role"] != "system"][:2] == [
        "in 1",
        "out 1",
    ]


def test_plain_text_in_a_thread_does_not_stop_an_assistant(cloud, stack, prompts, unique):
    body = {"name": "plain", "messages": [{"input": "plain in", "output": "plain out"}]}
    thread_id = stack.client.post("/api/threads", json=body).json()["thread_id"]
    assistant_id = stack.create_assistant(model="openai/words-2")
    options = {"assistant_id": assistant_id, "thread_id": thread_id}
    GriptapeCloudAssistantDriver(**cloud, **options).run(TextArtifact(unique))
    assert "plain out" in json.dumps(prompts(unique)[0])
