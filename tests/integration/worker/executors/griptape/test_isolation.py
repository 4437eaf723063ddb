"""Runs side by side in one process, and structures within structures, keep to themselves."""

import functools
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import ClassVar

import pytest
from griptape.artifacts import TextArtifact
from griptape.configs import Defaults
from griptape.events import EventBus, FinishStructureRunEvent
from griptape.structures import Agent
from griptape.tools import BaseTool
from griptape.utils.decorators import activity

from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import Exchange, Rule, Ruleset, RunContext, Succeeded
from worker.executors.griptape import executor as griptape_executor
from worker.executors.griptape.connections import model_connections
from worker.executors.models import build_driver


def test_no_event_of_a_run_reaches_another(stub, execution) -> None:
    """Twenty runs on five threads, each of which asks for its own word many times."""
    runs = [execution("openai/repeat-2", f"{word} " * 20) for word in (f"word{n}" for n in range(20))]

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda each: each.run(), runs))

    for n, each in enumerate(runs):
        assert set(each.output.split()) == set(each.text.split()) == {f"word{n}"}
        assert each.types.count("StartStructureRunEvent") == each.types.count("FinishTaskEvent") == 1


def test_a_run_leaves_nothing_behind_in_its_thread(stub, execution) -> None:
    listeners = EventBus.event_listeners

    execution("openai/words-3").run()

    assert EventBus.event_listeners is listeners


def test_the_frameworks_defaults_are_never_touched(stub, execution, monkeypatch) -> None:
    monkeypatch.setattr(Defaults, "_drivers_config", None)
    rulesets = (Ruleset("Manners", (Rule("polite", "Say please."),)),)

    execution("openai/words-3", rulesets=rulesets, history=(Exchange("a", "b"),)).run()

    assert Defaults._drivers_config is None


class Notebook(BaseTool):
    """A tool that runs an agent of its own, in whatever thread the framework gives it."""

    token: ClassVar[CancelToken] = CancelToken()

    @activity(config={"description": "Looks something up."})
    def look_up(self) -> TextArtifact:
        context = RunContext(
            run_id=uuid.uuid4(),
            assistant_id=None,
            assistant_name="inner",
            attempt=1,
            model="echo/inner",
            input=None,
            args=(),
            stream=True,
            max_duration=timedelta(minutes=1),
            token=self.token,
        )
        with model_connections(self.token, silence=1) as connections:
            inner = Agent(prompt_driver=build_driver(context, connections), conversation_memory=None)
            return TextArtifact(f"found {inner.run('nested').output.value}")


@pytest.fixture
def with_tool(monkeypatch: pytest.MonkeyPatch):
    """Give the runs of a test a tool, as runs with tools will have it."""

    def give(tool: BaseTool) -> None:
        question = functools.partial(griptape_executor.Question, tools=[tool])
        monkeypatch.setattr(griptape_executor, "Question", question)

    return give


def test_a_structure_within_the_run_does_not_end_it(stub, execution, with_tool) -> None:
    outer = execution("openai/tool")
    with_tool(Notebook())

    outer.run()

    assert isinstance(outer.outcome, Succeeded), outer.outcome
    assert outer.types.count("StartStructureRunEvent") == 2
    assert FinishStructureRunEvent.__name__ not in outer.types
    assert outer.output == "word0 word1 word2 word3 word4 "
    assert "found Echo" in stub.records.requests[1]["body"]["messages"][-1]["content"]


def test_a_stop_reaches_a_tool_in_a_thread_of_the_framework(stub, execution, with_tool) -> None:
    outer = execution("openai/tool")
    with_tool(Notebook())
    emit = outer.emit

    def stopping(event) -> None:
        if event.type == "StartActionsSubtaskEvent":
            outer.token.cancel(StopReason.CANCELLED)
        else:
            emit(event)

    outer.emit = stopping

    assert isinstance(outer.run().outcome, RunStopped)
    assert len(stub.records.requests) == 1
