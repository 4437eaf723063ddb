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

from shared.runs.lifecycle import Reason
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
from worker.executors.connections import model_connections
from worker.executors.model_driver import ModelDriver
from worker.executors.model_errors import ModelError
from worker.executors.models import build_driver, silence_limit
from worker.executors.payloads import event_payload, output_payload
from worker.executors.prompt import PromptError, compose_prompt
from worker.executors.question import Conversation, Question

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
    memory = _conversation(context)
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
    return _outcome(answer, prompt, _detail(context, driver, memory))


def _detail(context: RunContext, driver: ModelDriver, memory: Conversation | None) -> dict[str, Any]:
    """What the run did otherwise than it might seem."""
    left_out = context.history_left_out + (memory.left_out if memory else 0)
    said = {
        "ignored_llm_params": driver.ignored_params,
        "ignored_resources": list(context.unserved),
        "history_left_out": left_out,
    }
    return {name: value for name, value in said.items() if value} | driver.detail


def _conversation(context: RunContext) -> Conversation | None:
    if not context.history:
        return None
    return Conversation(
        conversation_memory_driver=LocalConversationMemoryDriver(),
        runs=[
            Run(input=TextArtifact(turn.input), output=TextArtifact(turn.output)) for turn in context.history
        ],
    )


def _agent(context: RunContext, driver: ModelDriver, prompt: str, memory: Conversation | None) -> Agent:
    rulesets = [
        Ruleset(
            ruleset.name, [Rule(rule.text) for rule in ruleset.rules], ruleset_driver=LocalRulesetDriver()
        )
        for ruleset in context.rulesets
    ]
    question = Question(
        prompt,
        prompt_driver=driver,
        max_subtasks=int(context.options.get("max_steps", DEFAULT_STEPS)),
        longest_output=int(context.options.get("max_tool_output", DEFAULT_TOOL_OUTPUT)),
        **_tools(context),
    )
    return Agent(
        tasks=[question],
        conversation_memory=memory,
        rulesets=rulesets,
        task_memory=None,  # type: ignore[arg-type]  # its default is one vector store for the whole process
    )


def _tools(context: RunContext) -> dict[str, Any]:
    if not context.structures:
        return {}
    from worker.executors.structure_tools import structure_tools  # noqa: PLC0415  # few runs need it

    return {"tools": structure_tools(context.structures)}


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
    told = _Told()

    def relay(event: BaseEvent) -> None:
        context.token.raise_if_cancelled()
        if isinstance(event, StartPromptEvent):
            event = told.without_repeats(event)
        # The run's own end is told by its outcome; that of a structure within it would end it for clients.
        is_end = isinstance(event, FinishStructureRunEvent)
        is_empty = isinstance(event, TextChunkEvent) and not event.token
        if not is_end and not is_empty:
            emit(ExecutorEvent(type(event).__name__, event_payload(event), event.timestamp))

    return relay


class _Told:
    """What the events of a run have said: its prompt, which is long, once."""

    def __init__(self) -> None:
        self._has_prompt = False

    def without_repeats(self, event: StartPromptEvent) -> StartPromptEvent:
        """The event; from the second model call on, without the messages (contract: griptape §7.4)."""
        if not self._has_prompt:
            self._has_prompt = True
            return event
        return evolve(event, prompt_stack=evolve(event.prompt_stack, messages=[]))


def _thoughts(context: RunContext, emit: Emit) -> Callable[[str, bool], None] | None:
    """Tells what a model thinks, to those who asked for a stream: it is no part of the answer.

    Thoughts with which it begins again, since it was asked the same again, say so in `reset`.
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
    """Read the outcome off what the framework gives: it turns exceptions of a task into its output."""
    if not isinstance(answer, ErrorArtifact):
        return Succeeded(output_payload(answer), prompt, detail)
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
    """Keep the framework from writing every question, answer and traceback to standard output.

    What fails is told by a run's outcome; the libraries may still warn.
    """
    framework = logging.getLogger(Defaults.logging_config.logger_name)
    framework.handlers.clear()
    framework.setLevel(logging.CRITICAL)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
