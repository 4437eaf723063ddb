"""Code of the framework that runs elsewhere reports an external run by the event listener driver."""

import pytest
from griptape.drivers.event_listener.griptape_cloud import GriptapeCloudEventListenerDriver
from griptape.drivers.prompt.openai import OpenAiChatPromptDriver
from griptape.events import EventListener
from griptape.structures import Agent, Pipeline
from griptape.tasks import CodeExecutionTask, PromptTask

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def url(stack):
    """An external run, by where it is."""
    structure_id = stack.client.post("/api/structures", json={"name": "elsewhere"}).json()["structure_id"]
    run = stack.client.post(f"/api/structures/{structure_id}/runs", json={"execution": "external"}).json()
    return f"/api/structure-runs/{run['structure_run_id']}"


@pytest.fixture
def events(stack, url):
    return lambda: stack.client.get(f"{url}/events", params={"limit": 1000}).json()["events"]


@pytest.fixture(params=[True, False], ids=["batched", "unbatched"])
def listener(request, cloud, url):
    """What a program adds to have its events posted."""
    run_id = url.rpartition("/")[2]
    driver = GriptapeCloudEventListenerDriver(structure_run_id=run_id, batched=request.param, **cloud)
    return EventListener(event_listener_driver=driver)


@pytest.fixture
def agent(llm):
    """An agent that answers with what it is given."""

    def agent():
        return Agent(
            prompt_driver=OpenAiChatPromptDriver(
                model="repeat", base_url=llm.openai_url, api_key="sk-stub", stream=True
            )
        )

    return agent


def finished(events):
    return [event for event in events if event["type"] == "FinishStructureRunEvent"]


def test_an_agent_ends_its_run_with_its_answer(stack, url, events, listener, agent):
    with listener:
        said = agent().run("Hello there").output.value
    run = stack.client.get(url).json()
    assert (run["status"], run["output"]["value"]) == ("SUCCEEDED", said)
    assert len(finished(events())) == 1


def test_an_agent_inside_a_pipeline_does_not_end_the_run(stack, url, events, listener, agent):
    """Nor does its answer become the run's, and nothing that follows is lost."""
    pipeline = Pipeline(
        tasks=[
            CodeExecutionTask(on_run=lambda task: agent().run(task.input.value).output, input="inner"),
            PromptTask("outer {{ parent_output }}", prompt_driver=agent().prompt_driver),
        ]
    )
    with listener:
        pipeline.run()
    run = stack.client.get(url).json()
    assert (run["status"], run["output"]["value"].strip()) == ("SUCCEEDED", "outer inner")
    inner, outer = finished(events())
    assert inner["payload"]["structure_id"] != pipeline.id
    assert outer["payload"]["structure_id"] == pipeline.id
    types = [event["type"] for event in events()]
    assert types.count("StartTaskEvent") == types.count("FinishTaskEvent") == 3
    assert types[-2:] == ["FinishStructureRunEvent", "StructureRunCompleted"]
