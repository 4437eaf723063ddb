"""The griptape framework's own assistant driver, unmodified, against `runyard dev`."""

import time

import pytest
from griptape.artifacts import TextArtifact
from griptape.drivers.assistant.griptape_cloud import GriptapeCloudAssistantDriver
from griptape.events import EventBus, EventListener, FinishStructureRunEvent, TextChunkEvent
from griptape.structures import Agent
from griptape.tasks import AssistantTask
from griptape.utils import Stream

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def driver(stack):
    def driver(**fields):
        return GriptapeCloudAssistantDriver(
            base_url=stack.file["api_url"],
            api_key=stack.file["api_key"],
            assistant_id=stack.create_assistant(**fields),
            auto_create_thread=False,
            stream=True,
        )

    return driver


@pytest.fixture
def heard():
    """What the framework's event bus hears, with the instant it hears it."""
    events = []
    listener = EventListener(lambda event: events.append((time.monotonic(), event)))
    EventBus.add_event_listener(listener)
    yield events
    EventBus.remove_event_listener(listener)


def test_the_driver_gets_the_answer(driver):
    answer = driver().run(TextArtifact("Poo-tee-weet?"))
    assert isinstance(answer, TextArtifact)
    assert "Poo-tee-weet?" in answer.value
    assert answer.meta["assistant_run_id"]


def test_chunks_arrive_before_the_model_has_finished(driver, heard):
    answer = driver(model="openai/words-20-50").run(TextArtifact("Hi"))
    ended = time.monotonic()
    chunks = [(at, event) for at, event in heard if isinstance(event, TextChunkEvent)]
    assert "".join(event.token for _, event in chunks).split() == answer.value.split()
    assert len(chunks) >= 3
    assert ended - chunks[0][0] > 0.3  # the model takes a second


def test_an_agent_streams_through_an_assistant_task(driver):
    agent = Agent(tasks=[AssistantTask("{{ args[0] }}", assistant_driver=driver(model="openai/words-5"))])
    pieces = list(Stream(agent, event_types=[TextChunkEvent, FinishStructureRunEvent]).run("Hi"))
    assert "word0" in "".join(piece.value for piece in pieces)
    assert agent.output.value.split() == [f"word{n}" for n in range(5)]


def test_a_run_that_fails_gives_the_driver_its_reason(driver):
    answer = driver(model="openai/status-500").run(TextArtifact("Hi"))
    assert "500" in answer.value
