"""The guarded executor: guardrails wrapped around any executor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from shared.lifecycle import Reason
from shared.models import JsonObject
from worker.cancellation import is_stop
from worker.executors.base import (
    REASONING_CHUNK,
    CallableStructure,
    Emit,
    Exchange,
    Executor,
    ExecutorEvent,
    Failed,
    InvalidConfigurationError,
    Outcome,
    PlatformError,
    RunContext,
    Succeeded,
    text_chunk,
)
from worker.executors.policy import Blame, policy_of, with_policy
from worker.guardrails.guard import Direction, Guard, GuardrailError, make_guard
from worker.guardrails.values import screened

CHUNKS: Final = frozenset({"TextChunkEvent", "ActionChunkEvent", "AudioChunkEvent", REASONING_CHUNK})
"""Pieces of an answer: a finding may lie across two, so they are held back for the whole answer."""

WENT_IN: Final[Mapping[str, frozenset[str]]] = {
    "StartStructureRunEvent": frozenset({"input_task_input"}),
    "StartTaskEvent": frozenset({"task_input"}),
    "FinishTaskEvent": frozenset({"task_input"}),
}
"""Fields that repeat a run's input, by the framework's event: the input side has checked them."""


def guarded(executor: Executor, guardrails: Mapping[str, Any]) -> Executor:
    """Wrap an executor in a run's guardrails.

    The input side checks the input, the arguments, the thread's earlier exchanges and the answers of
    structures. The output side checks the answer, every event, the arguments of structures and the message
    of a failure. Chunks of an answer are emitted as one chunk, once the whole answer has passed.

    Raises:
        InvalidConfigurationError: an enabled guardrail has no detector here.
    """
    into, out_of = make_guard(guardrails, Direction.INPUT), make_guard(guardrails, Direction.OUTPUT)
    if not into and not out_of:
        return executor

    def execute(context: RunContext, emit: Emit) -> Outcome:
        return _Guarded(executor, into, out_of, emit).execute(context)

    return with_policy(execute, policy_of(executor))


class _Guarded:
    """One guarded execution."""

    def __init__(self, executor: Executor, into: Guard, out_of: Guard, emit: Emit) -> None:
        self._executor = executor
        self._into = into
        self._out_of = out_of
        self._emit = emit
        self._refusal: GuardrailError | None = None
        self._holds_back = False

    def execute(self, context: RunContext) -> Outcome:
        try:
            outcome = self._outcome(self._run(self._context(context)))
        except GuardrailError as refusal:
            outcome = Failed(str(refusal), Reason.GUARDRAIL_BLOCKED)
        guards = (self._into, self._out_of)
        masked = {guard.direction.value: guard.masked for guard in guards if guard.masked}
        return replace(outcome, detail={**outcome.detail, "masked": masked}) if masked else outcome

    def _run(self, context: RunContext) -> Outcome:
        """Execute; the message of an exception is output, too.

        Raises:
            GuardrailError: a text was blocked, whatever the executor made of that.
        """
        try:
            return self._executor(context, self._pass_on if self._out_of else self._emit)
        except (InvalidConfigurationError, PlatformError) as error:
            is_platform = isinstance(error, PlatformError)
            message = self._out_of.screen(str(error))
        except BaseException as error:
            is_told = policy_of(self._executor).blame_of(error) is Blame.ASSISTANT
            if is_stop(error) or not (self._out_of and is_told):
                raise
            return Failed(self._out_of.screen(f"{type(error).__name__}: {error}"))
        finally:
            if self._refusal is not None:
                raise self._refusal
        raise PlatformError(message) if is_platform else InvalidConfigurationError(message)

    def _context(self, context: RunContext) -> RunContext:
        def see(text: str) -> str:
            context.token.raise_if_cancelled()  # there may be many, and each take its time
            return self._into.screen(text)

        return replace(
            context,
            input=None if context.input is None else see(context.input),
            args=tuple(map(see, context.args)),
            history=tuple(Exchange(see(one.input), see(one.output)) for one in context.history),
            structures=tuple(replace(one, call=self._call(one)) for one in context.structures),
        )

    def _call(self, structure: CallableStructure) -> Callable[[Sequence[str]], JsonObject]:
        def call(args: Sequence[str]) -> JsonObject:
            with_care = self._remembering(lambda: [self._out_of.screen(arg) for arg in args])
            output = structure.call(with_care)
            answer: JsonObject = self._remembering(lambda: screened(output, self._into))
            return answer

        return call

    def _remembering(self, look: Callable[[], Any]) -> Any:
        """Check a value inside the executor, and remember the error: the executor may swallow it."""
        try:
            return look()
        except GuardrailError as refusal:
            self._refusal = refusal
            raise

    def _pass_on(self, event: ExecutorEvent) -> None:
        if event.type in CHUNKS:
            self._holds_back = True
            return
        kept = {name: event.payload[name] for name in WENT_IN.get(event.type, ()) if name in event.payload}
        if "prompt_stack" in event.payload:  # it repeats earlier answers, and what tools gave
            kept["prompt_stack"] = {"messages": []}
        rest = {name: value for name, value in event.payload.items() if name not in kept}
        passed = self._remembering(lambda: screened(rest, self._out_of))
        self._emit(ExecutorEvent(event.type, {**passed, **kept}, event.timestamp))

    def _outcome(self, outcome: Outcome) -> Outcome:
        """Return the checked outcome; emit the answer whose chunks were held back."""
        match outcome:
            case Failed(message=message):
                passed = self._out_of.screen(message)
                return replace(outcome, message=passed, detail=screened(dict(outcome.detail), self._out_of))
            case Succeeded(output=output):
                output = screened(output, self._out_of)
                if self._holds_back and output and output.get("value"):
                    self._emit(text_chunk(str(output["value"])))
                return replace(outcome, output=output, detail=screened(dict(outcome.detail), self._out_of))
