"""An executor whose input and output are looked at, whatever the executor is."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from shared.runs.lifecycle import Reason
from worker.executors.base import (
    Emit,
    Exchange,
    Executor,
    ExecutorEvent,
    Failed,
    Outcome,
    RunContext,
    Succeeded,
)
from worker.guardrails.guard import Guard, GuardrailError, Side, make_guard

CHUNKS: Final = frozenset({"TextChunkEvent", "ActionChunkEvent", "AudioChunkEvent"})
"""Pieces of an answer: what is to be found may lie across two, so they are held back for the whole."""

WENT_IN: Final = frozenset({"task_input", "input_task_input", "output_task_input"})
"""Fields of the framework's events that repeat the input, which another guard has looked at."""

NO_TEXT: Final = frozenset({"type", "role", "model", "name", "path", "tag", "reference", "module_name"})
"""Fields that hold names; `id` and whatever ends with it are none to look at either."""


def guarded(executor: Executor, guardrails: Mapping[str, Any]) -> Executor:
    """The same executor, with a run's guardrails (contract: watsonx §2.3) on both its sides.

    What goes in is the input, the arguments and the thread's earlier exchanges. What comes out is the
    answer and every event; chunks of an answer come as one, once the whole of it has passed.

    Raises:
        InvalidConfigurationError: an enabled guardrail has no detector here.
    """
    into, out_of = make_guard(guardrails, Side.INPUT), make_guard(guardrails, Side.OUTPUT)
    if not into and not out_of:
        return executor

    def execute(context: RunContext, emit: Emit) -> Outcome:
        screen = _Screen(out_of, emit)
        try:
            outcome = screen.watch(executor, _screened(context, into))
            return _told(screen.outcome(outcome), into, out_of)
        except GuardrailError as refusal:
            return Failed(str(refusal), Reason.GUARDRAIL_BLOCKED)

    return execute


def _screened(context: RunContext, guard: Guard) -> RunContext:
    if not guard:
        return context
    return replace(
        context,
        input=None if context.input is None else guard.screen(context.input),
        args=tuple(map(guard.screen, context.args)),
        history=tuple(Exchange(guard.screen(one.input), guard.screen(one.output)) for one in context.history),
    )


def _told(outcome: Outcome, *guards: Guard) -> Outcome:
    """An outcome that says what was masked on its way."""
    masked = {guard.side.value: guard.masked for guard in guards if guard.masked}
    if not masked or not isinstance(outcome, Succeeded | Failed):
        return outcome
    return replace(outcome, detail={**outcome.detail, "masked": masked})


class _Screen:
    """What stands between an executor and its run."""

    def __init__(self, guard: Guard, emit: Emit) -> None:
        self._guard = guard
        self._emit = emit
        self._refusal: GuardrailError | None = None
        self._holds_back = False

    def watch(self, executor: Executor, context: RunContext) -> Outcome:
        """Execute, and look at every event.

        Raises:
            GuardrailError: one of them may not pass, whatever the executor made of that.
        """
        try:
            return executor(context, self._pass_on if self._guard else self._emit)
        finally:
            if self._refusal is not None:
                raise self._refusal

    def outcome(self, outcome: Outcome) -> Outcome:
        """The outcome as it may pass; an answer that was held back is told before it."""
        match outcome:
            case Failed(message):
                return replace(outcome, message=self._guard.screen(message))
            case Succeeded(output):
                output = _screen_value(output, self._guard)
                if self._holds_back and output.get("value"):
                    self._emit(_whole(str(output["value"])))
                return replace(outcome, output=output)
            case _:
                return outcome

    def _pass_on(self, event: ExecutorEvent) -> None:
        if event.type in CHUNKS:
            self._holds_back = True
            return
        try:
            payload = _screen_value(event.payload, self._guard)
        except GuardrailError as refusal:
            self._refusal = refusal
            raise
        self._emit(ExecutorEvent(event.type, payload, event.timestamp))


def _screen_value(value: Any, guard: Guard) -> Any:
    match value:
        case str():
            return guard.screen(value)
        case dict():
            return {key: _screen_field(str(key), item, guard) for key, item in value.items()}
        case list() | tuple():
            return [_screen_value(item, guard) for item in value]
        case _:
            return value


def _screen_field(name: str, value: Any, guard: Guard) -> Any:
    if name == "prompt_stack":  # it repeats earlier answers, and what tools gave
        return {"messages": []}
    if name in WENT_IN or name in NO_TEXT or name == "id" or name.endswith(("_id", "_ids")):
        return value
    return _screen_value(value, guard)


def _whole(text: str) -> ExecutorEvent:
    now = time.time()
    payload = {"type": "TextChunkEvent", "id": uuid.uuid4().hex, "timestamp": now, "meta": {}}
    return ExecutorEvent("TextChunkEvent", {**payload, "token": text, "index": 0}, now)
