"""What an executor imports: the protocol, its context, its events, its outcomes and its errors.

An executor is a function of the entry-point group `runyard.executors`; the entry point's name is the
provider, the part of a model string before the slash. docs/extending.md has an example.
"""

from shared.artifacts import text_artifact
from shared.lifecycle import Reason
from worker.cancellation import CancelToken, RunStopped, StopReason
from worker.executors.base import (
    CallableStructure,
    Emit,
    Exchange,
    Executor,
    ExecutorEvent,
    Failed,
    InvalidConfigurationError,
    Outcome,
    PlatformError,
    Rule,
    Ruleset,
    RunContext,
    Succeeded,
    finish_prompt,
    text_chunk,
)
from worker.executors.policy import Blame, Policy, with_policy

__all__ = (
    "Blame",
    "CallableStructure",
    "CancelToken",
    "Emit",
    "Exchange",
    "Executor",
    "ExecutorEvent",
    "Failed",
    "InvalidConfigurationError",
    "Outcome",
    "PlatformError",
    "Policy",
    "Reason",
    "Rule",
    "Ruleset",
    "RunContext",
    "RunStopped",
    "StopReason",
    "Succeeded",
    "finish_prompt",
    "text_artifact",
    "text_chunk",
    "with_policy",
)
