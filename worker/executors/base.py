"""The protocol of executors: their context, events, outcomes and errors. No Celery, SQL or Redis."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from shared.lifecycle import EventType, Reason
from worker.cancellation import CancelToken

REASONING_CHUNK: Final = "ReasoningChunkEvent"
"""The event of a model's thoughts: shown in streams, no part of the answer."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a ruleset."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Rules that the assistant follows, under one name."""

    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One earlier turn of the conversation: the prompt and its answer."""

    input: str
    output: str


class LogStream(StrEnum):
    """The stream that a program printed a line to."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a program's output, without its end."""

    stream: LogStream
    text: str


WriteLines = Callable[[Sequence[LogLine]], None]
"""Stores lines of a run's log; raises RunStopped once the run is no longer this attempt's."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a structure run executes: a tenant's own code, as a process.

    `code` is the structure's, as the API shows it. `env` is the program's environment beyond the variables
    of every program. The log shows no value of `secrets`.
    """

    organization_id: uuid.UUID  # the owner
    code: Mapping[str, Any]
    config_file: str | None  # of a folder; None for the usual one
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    write_log: WriteLines
    judge_exit: "JudgeExit"
    has_earlier_lines: bool = False  # the log holds lines of an earlier attempt


@dataclass(frozen=True, slots=True)
class CallableStructure:
    """A structure that an assistant may call as a tool.

    `call` takes arguments and returns an artifact, an ErrorArtifact if the run did not succeed. It raises
    RunStopped once the token of the calling run has fired.
    """

    name: str
    description: str
    call: Callable[[Sequence[str]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything that one execution needs, frozen.

    `input` is the run's, or else the assistant's. `model` is `provider/model`, never empty. `token` fires
    when the run has to stop: executors look at it, and shut their connections at once (`token.on_cancel`).
    """

    run_id: uuid.UUID
    assistant_id: uuid.UUID | None  # None of a structure run
    assistant_name: str
    attempt: int
    model: str
    input: str | None
    args: tuple[str, ...]
    stream: bool
    max_duration: timedelta
    token: CancelToken
    rulesets: tuple[Ruleset, ...] = ()
    history: tuple[Exchange, ...] = ()  # the end of the thread
    history_left_out: int = 0  # exchanges of the thread before those
    options: Mapping[str, Any] = field(default_factory=dict)  # executor settings of the operator
    program: Program | None = None  # of a structure run
    structures: tuple[CallableStructure, ...] = ()
    unserved: tuple[str, ...] = ()  # the run's non-empty lists of resources that do not exist here
    llm_params: Mapping[str, Any] = field(default_factory=dict)  # as the watsonx dialect names them
    guardrails: Mapping[str, Any] = field(default_factory=dict)  # likewise; they wrap the executor


@dataclass(frozen=True, slots=True)
class ExecutorEvent:
    """An event of a run; `payload` is a JSON object whose `type` is `type`."""

    type: str
    payload: dict[str, Any]
    timestamp: float = field(default_factory=time.time)  # epoch seconds


def text_chunk(token: str, *, index: int = 0) -> ExecutorEvent:
    """The event of a piece of the answer, which streams show at once.

    Args:
        token: the piece; all pieces of one `index`, joined, are the answer.
        index: of the message that it belongs to.
    """
    event = ExecutorEvent(EventType.TEXT_CHUNK, {"token": token, "index": index})
    return _completed(event)


def finish_prompt(model: str, *, input_tokens: int, output_tokens: int) -> ExecutorEvent:
    """The event of a model call that has ended. The run's `usage` is the sum of these."""
    counts = {"input_token_count": input_tokens, "output_token_count": output_tokens}
    return _completed(ExecutorEvent(EventType.FINISH_PROMPT, {"model": model, **counts}))


def _completed(event: ExecutorEvent) -> ExecutorEvent:
    """Add the fields that every event of the framework has."""
    event.payload.update(type=event.type, id=uuid.uuid4().hex, timestamp=event.timestamp, meta={})
    return event


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The run succeeded.

    Args:
        output: an artifact object; None keeps the output that a program reported.
        prompt: what the output answers, for the message on the run's thread.
        message: for people.
        detail: further facts for `status_detail`.
    """

    output: dict[str, Any] | None
    prompt: str = field(default="", kw_only=True)
    message: str = field(default="The assistant answered.", kw_only=True)
    detail: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True, slots=True)
class Failed:
    """The assistant, its model, a tool or a program failed.

    Args:
        message: for people: no secret, no traceback.
        detail: further facts for `status_detail`.
    """

    message: str
    reason: Reason = Reason.ASSISTANT_FAILED
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exited:
    """A program exited. `exit_code` is 128 + n if signal n ended it; `message` is for people."""

    exit_code: int
    message: str
    last_error_line: str = ""  # the last line of its error stream


class InvalidConfigurationError(Exception):
    """The run cannot be executed as configured: an unknown provider, a missing key or package."""


class PlatformError(Exception):
    """The platform failed the run, which ends in ERROR. The message is for people: no secret in it."""


Outcome = Succeeded | Failed

JudgeExit = Callable[[Exited], Outcome]
"""Returns the outcome of a program that exited, with a view to its reports; raises RunStopped once the run is
no longer this attempt's."""

Emit = Callable[[ExecutorEvent], None]
"""Takes an event; raises RunStopped once the token has fired. Safe from any thread."""

Executor = Callable[[RunContext, Emit], Outcome]
"""Executes one run: emits events as they happen, and returns the outcome.

Once the token has fired, the run ends as the token says, whatever the executor returns or raises.

Raises:
    RunStopped: the token fired.
    InvalidConfigurationError: the operator's configuration is at fault; the run ends in ERROR.
    PlatformError: the platform failed the run, which ends in ERROR.
    Exception: `worker.executors.policy.Policy.blame` says who failed: by default the assistant, and the run
        ends FAILED.
"""
