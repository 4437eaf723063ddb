"""Executes a run with an Agent of the griptape framework."""

import contextvars
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve
from griptape.artifacts import BaseArtifact, ErrorArtifact, TextArtifact
from griptape.configs import Defaults
from griptape.drivers.memory.conversation.local import LocalConversationMemoryDriver
from griptape.drivers.ruleset.local import LocalRulesetDriver
from griptape.events import (
    BaseEvent,
    EventBus,
    EventListener,
    FinishStructureRunEvent,
    StartPromptEvent,
    TextChunkEvent,
)
from griptape.memory.structure import Run
from griptape.observability import observability as _observability  # noqa: F401  # else its first run imports it
from griptape.rules import Rule, Ruleset
from griptape.structures import Agent

from shared.lifecycle import Reason
from worker.executors.base import (
    REASONING_CHUNK,
    Emit,
    ExecutorEvent,
    Failed,
    InvalidConfigurationError,
    Outcome,
    RunContext,
    Succeeded,
)
from worker.executors.griptape.connections import model_connections
from worker.executors.griptape.model_driver import ModelDriver
from worker.executors.griptape.model_errors import ModelError
from worker.executors.griptape.payloads import event_payload, output_payload
from worker.executors.griptape.prompt import PromptError, compose_prompt
from worker.executors.griptape.question import Conversation, Question
from worker.executors.models import build_driver, silence_limit

DEFAULT_STEPS: Final = 20  # answers of a model that call tools, after which it is asked for its last one
DEFAULT_TOOL_OUTPUT: Final = 100_000  # characters of what a tool gives

_CHATTY_LIBRARIES: Final = ("botocore", "google_genai", "httpx", "httpx2")


def execute(context: RunContext, emit: Emit) -> Outcome:
    """Execute a run.

    Text chunks are emitted whatever `stream` says: clients that did not ask for them ignore them,
    and only a streamed answer can be stopped half-way.
    """
    try:
        prompt = compose_prompt(context.input, context.args)
    except PromptError as error:
        return Failed(str(error), Reason.INVALID_CONFIGURATION)
    memory = None
    if context.history:
        turns = [
            Run(input=TextArtifact(one.input), output=TextArtifact(one.output)) for one in context.history
        ]
        memory = Conversation(conversation_memory_driver=LocalConversationMemoryDriver(), runs=turns)
    try:
        with model_connections(context.token, silence=silence_limit(context)) as connections:
            driver = build_driver(context, connections)
            driver.on_thought = _thoughts(context, emit)
            if memory is not None:
                driver.shorten = memory.shorten
            answer = _in_own_context(_agent(context, driver, prompt, memory), _relay(context, emit))
    except Exception:
        context.token.raise_if_cancelled()  # whatever it broke on, it was to stop
        raise
    context.token.raise_if_cancelled()
    said = {  # what the run ignored or left out
        "ignored_llm_params": driver.ignored_params,
        "ignored_resources": list(context.unserved),
        "history_left_out": context.history_left_out + (memory.left_out if memory else 0),
    }
    return _outcome(answer, prompt, {name: value for name, value in said.items() if value} | driver.detail)


def _agent(context: RunContext, driver: ModelDriver, prompt: str, memory: Conversation | None) -> Agent:
    rulesets = [
        Ruleset(
            ruleset.name, [Rule(rule.text) for rule in ruleset.rules], ruleset_driver=LocalRulesetDriver()
        )
        for ruleset in context.rulesets
    ]
    tools: dict[str, Any] = {}
    if context.structures:
        from worker.executors.griptape.structure_tools import structure_tools  # noqa: PLC0415  # few runs need it

        tools["tools"] = structure_tools(context.structures)
    question = Question(
        prompt,
        prompt_driver=driver,
        max_subtasks=int(context.options.get("max_steps", DEFAULT_STEPS)),
        longest_output=int(context.options.get("max_tool_output", DEFAULT_TOOL_OUTPUT)),
        **tools,
    )
    return Agent(
        tasks=[question],
        conversation_memory=memory,
        rulesets=rulesets,
        task_memory=None,  # type: ignore[arg-type]  # its default is one vector store for the whole process
    )


def _in_own_context(agent: Agent, on_event: Callable[[BaseEvent], None]) -> BaseArtifact:
    """Run an agent where its events reach `on_event` and nobody else.

    The framework keeps its listeners in a context variable. Threads of a pool are used again, and
    runs go on side by side: each gets a context of its own, with one listener.
    """

    def run() -> BaseArtifact:
        EventBus.event_listeners = [EventListener(on_event)]
        return agent.run().output

    return contextvars.copy_context().run(run)


def _relay(context: RunContext, emit: Emit) -> Callable[[BaseEvent], None]:
    has_prompt = False

    def relay(event: BaseEvent) -> None:
        nonlocal has_prompt
        context.token.raise_if_cancelled()
        if isinstance(event, StartPromptEvent):
            if has_prompt:  # it is long: from the second call on, no messages
                event = evolve(event, prompt_stack=evolve(event.prompt_stack, messages=[]))
            has_prompt = True
        # The outcome ends the run; the end of a structure inside it would end the run for clients.
        is_end = isinstance(event, FinishStructureRunEvent)
        is_empty = isinstance(event, TextChunkEvent) and not event.token
        if not is_end and not is_empty:
            emit(ExecutorEvent(type(event).__name__, event_payload(event), event.timestamp))

    return relay


def _thoughts(context: RunContext, emit: Emit) -> Callable[[str, bool], None] | None:
    """Return a function that emits a model's thoughts; None unless the run streams.

    After a repeated call the first thoughts have `reset`: the earlier ones do not count.
    """
    if not context.stream:
        return None

    def tell(text: str, is_again: bool) -> None:  # noqa: FBT001  # a callback's, never called by hand
        context.token.raise_if_cancelled()
        payload = {"type": REASONING_CHUNK, "id": uuid.uuid4().hex, "timestamp": time.time(), "meta": {}}
        reset = {"reset": True} if is_again else {}
        emit(ExecutorEvent(REASONING_CHUNK, {**payload, "token": text, **reset}))

    return tell


def _outcome(answer: BaseArtifact, prompt: str, detail: dict[str, Any]) -> Outcome:
    """Make the outcome of an answer. The framework turns an exception of a task into its output."""
    if not isinstance(answer, ErrorArtifact):
        return Succeeded(output_payload(answer), prompt=prompt, detail=detail)
    match answer.exception:
        case ModelError(is_configuration=True) as error:
            raise InvalidConfigurationError(str(error)) from error
        case ModelError() as error:
            reason = Reason.MODEL_REFUSED if error.is_refusal else Reason.MODEL_FAILED
            return Failed(str(error), reason, {**detail, **error.detail})
        case None:
            return Failed(answer.value, detail=detail)
        case error:
            return Failed(f"{type(error).__name__}: {error}", detail=detail)


def quieten() -> None:
    """Silence the framework's own log: it prints every question, answer and traceback.

    A failure is in the run's outcome; the libraries may still warn.
    """
    framework = logging.getLogger(Defaults.logging_config.logger_name)
    framework.handlers.clear()
    framework.setLevel(logging.CRITICAL)
    for name in _CHATTY_LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(max(library.level, logging.WARNING))
