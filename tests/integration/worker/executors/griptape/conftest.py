"""Executing runs against the stub of a model provider."""

import threading
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from tests.support.llm_script import ScriptedLlm
from tests.support.llm_stub import LlmStub
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors import registry
from worker.executors.base import CallableStructure, ExecutorEvent, Outcome, RunContext
from worker.executors.griptape import refused_parameters


@dataclass
class Execution:
    """One run being executed, and what came of it."""

    context: RunContext
    events: list[ExecutorEvent] = field(default_factory=list)
    outcome: Outcome | BaseException | None = None
    thread: threading.Thread | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def token(self) -> CancelToken:
        return self.context.token

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def text(self) -> str:
        return "".join(event.payload["token"] for event in self.events if event.type == "TextChunkEvent")

    @property
    def output(self) -> Any:
        return getattr(self.outcome, "output", {}).get("value")

    def emit(self, event: ExecutorEvent) -> None:
        self.token.raise_if_cancelled()
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def run(self) -> "Execution":
        """Execute in this thread."""
        try:
            self.outcome = registry.resolve(self.context.model)(self.context, self.emit)
        except (Exception, RunStopped) as error:  # noqa: BLE001  # it is what the test looks at
            self.outcome = error
        return self

    def start(self) -> "Execution":
        """Execute in a thread of its own."""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def wait_for(self, event_type: str, timeout: float = 30) -> bool:
        """Wait until an event of this type was emitted; say whether it was."""
        with self.changed:
            return self.changed.wait_for(lambda: event_type in self.types, timeout)

    def has_ended(self, within: float) -> bool:
        assert self.thread is not None
        self.thread.join(within)
        return not self.thread.is_alive()


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    registry.warm_up()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Generator[LlmStub]:
    """A stub of its own for the test; every provider's address points to it."""
    with LlmStub() as running:
        for name, value in _addresses(running).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Generator[ScriptedLlm]:
    """A provider that answers what the test writes; every provider's address points to it."""
    with ScriptedLlm() as running:
        for name, value in _addresses(running).items():
            monkeypatch.setenv(name, value)
        yield running


@dataclass
class Tool:
    """A structure that a run may call, and how it was called."""

    calls: list[list[str]] = field(default_factory=list)
    gives: str = "the tool's answer"

    @property
    def as_structure(self) -> CallableStructure:
        return CallableStructure("Sample", "Says something.", self._call)

    def _call(self, args: Sequence[str]) -> dict[str, Any]:
        self.calls.append(list(args))
        return {"type": "TextArtifact", "value": self.gives}


@pytest.fixture
def tool() -> Tool:
    return Tool()


def _addresses(stub: LlmStub | ScriptedLlm) -> Mapping[str, str]:
    return {
        "OPENAI_BASE_URL": stub.openai_url,
        "OPENAI_API_KEY": "sk-test",
        "AZURE_OPENAI_ENDPOINT": stub.root,
        "AZURE_OPENAI_API_KEY": "key-test",
        "ANTHROPIC_BASE_URL": stub.root,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "OLLAMA_HOST": stub.root,
        "CO_API_URL": stub.root,
        "COHERE_API_KEY": "co-test",
        "GOOGLE_API_KEY": "google-test",
        "GOOGLE_GEMINI_BASE_URL": stub.root,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": stub.root,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "aws-test",
        "AWS_SECRET_ACCESS_KEY": "aws-test",
    }


@pytest.fixture(autouse=True)
def _nothing_is_refused() -> Generator[None]:
    """No parameter is known to be refused by a model of an earlier test."""
    refused_parameters.forget()
    yield
    refused_parameters.forget()


@pytest.fixture
def execution() -> Generator[Callable[..., Execution]]:
    """Make an execution: the model, then the input, then whatever a run's context holds."""
    made: list[Execution] = []

    def make(model: str, input: str | None = "Hello there", **values: Any) -> Execution:  # noqa: A002  # as the context has it
        options = {"model_attempts": 1, **values.pop("options", {})}
        defaults: dict[str, Any] = {
            "run_id": uuid.uuid4(),
            "assistant_id": uuid.uuid4(),
            "assistant_name": "Test",
            "attempt": 1,
            "args": (),
            "stream": True,
            "max_duration": timedelta(hours=1),
            "token": CancelToken(),
        }
        context = RunContext(model=model, input=input, options=options, **{**defaults, **values})
        made.append(Execution(context))
        return made[-1]

    yield make
    for each in made:
        each.token.cancel(StopReason.CANCELLED)
        assert each.thread is None or each.has_ended(within=30)
