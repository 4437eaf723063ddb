"""What an executor gets and gives. It knows nothing of Celery, SQL or Redis."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from shared.runs.lifecycle import Reason
from worker.cancellation import CancelToken

REASONING_CHUNK: Final = "ReasoningChunkEvent"
"""The event of what a model thinks: for those who stream a run, and no part of its answer."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a ruleset."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Rules the assistant is to follow, under one name."""

    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One earlier turn of the conversation: what was asked, what was answered."""

    input: str
    output: str


class LogStream(StrEnum):
    """Where a program said something."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a program's output, without its end."""

    stream: LogStream
    text: str


WriteLines = Callable[[Sequence[LogLine]], None]
"""Keeps lines of a run's output; raises RunStopped once the run is no longer this attempt's."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a structure run executes: a user's own code, as a process.

    `code` is the structure's, as the API shows it. `env` is what it is started with, beyond
    what every program needs. No value of `secrets` may show in the lines that are written.
    """

    organization_id: uuid.UUID  # whose it is
    code: Mapping[str, Any]
    config_file: str | None  # of a folder; None for the usual one
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    write_lines: WriteLines


@dataclass(frozen=True, slots=True)
class CallableStructure:
    """A structure that an assistant may call as a tool.

    `call` takes arguments and returns an artifact, an ErrorArtifact if the run did not succeed; it
    raises RunStopped once the calling run is to stop.
    """

    name: str
    description: str
    call: Callable[[Sequence[str]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything one execution needs, frozen.

    `input` is the effective one, the run's or else the assistant's. `model` is provider/model,
    never empty. `token` says when to stop: executors look at it, and shut their connections
    when it fires (`token.on_cancel`).
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
    unserved: tuple[str, ...] = ()  # lists of the run's whose resources do not exist here
    llm_params: Mapping[str, Any] = field(default_factory=dict)  # contract: watsonx §2.2
    guardrails: Mapping[str, Any] = field(
        default_factory=dict
    )  # contract: watsonx §2.3; kept around executors


@dataclass(frozen=True, slots=True)
class ExecutorEvent:
    """Something the assistant did; `payload` is a JSON object whose `type` is `type`."""

    type: str
    payload: dict[str, Any]
    timestamp: float = field(default_factory=time.time)  # epoch seconds


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The assistant answered. `output` is an artifact object (contract: griptape §7.5).

    `prompt` is what was asked, as the run's thread is to remember it.
    """

    output: dict[str, Any]
    prompt: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)  # what else `status_detail` is to say


@dataclass(frozen=True, slots=True)
class Failed:
    """The assistant, its model or a tool failed. `message` is for people: no secret, no traceback."""

    message: str
    reason: Reason = Reason.ASSISTANT_FAILED
    detail: Mapping[str, Any] = field(default_factory=dict)  # what else `status_detail` is to say


@dataclass(frozen=True, slots=True)
class Exited:
    """A program came to its end. `exit_code` is 128 + n if signal n ended it; `message` is for people."""

    exit_code: int
    message: str
    last_words: str = ""  # the last line of its error stream


class InvalidConfigurationError(Exception):
    """The run cannot be executed as configured: an unknown provider, a missing key or package."""


class PlatformError(Exception):
    """The platform failed the run, which ends in ERROR. The message is for people: no secret in it."""


Outcome = Succeeded | Failed | Exited

Emit = Callable[[ExecutorEvent], None]
"""Takes an event; raises RunStopped once the run is to stop. Safe from any thread."""

Executor = Callable[[RunContext, Emit], Outcome]
"""Executes one run: emits events as they happen, returns how it went.

Raises:
    RunStopped: the token fired.
    InvalidConfigurationError: the platform's configuration is at fault; the run ends in ERROR.
    PlatformError: the platform failed the run; it ends in ERROR.
    Exception: anything else counts as the assistant's failure, and the run ends FAILED. A program has a
        process of its own to fail in: what is raised beside it is the platform's, and ends the run in ERROR.
"""
