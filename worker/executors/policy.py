"""How the platform treats the runs of an executor, as data beside the executor."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.executors.base import Emit, Executor, Outcome, PlatformError, RunContext


class Blame(StrEnum):
    """Who is to blame for an exception that an executor does not declare."""

    ASSISTANT = "assistant"  # the run ends FAILED, with the exception as its message
    PLATFORM = "platform"  # the run ends in ERROR, and the exception stays in the log


@dataclass(frozen=True, slots=True)
class Policy:
    """How an attempt treats the errors of an executor, and how it stops one.

    A run that is to stop has `cancel_grace` plus `stop_margin` until it is given up. For the first part of
    this, `cooperative_share` of the grace and half the margin, the executor may return by itself. Then
    RunStopped is raised in its thread.
    """

    blame: Blame = Blame.ASSISTANT
    cooperative_share: float = 0.4  # of the grace, from 0 to 1
    stop_margin: float = 0.0  # seconds

    def blame_of(self, error: BaseException) -> Blame:
        """Who is to blame for an exception of the executor, other than InvalidConfigurationError."""
        return Blame.PLATFORM if isinstance(error, PlatformError) else self.blame

    def stop_timeout(self, grace: float) -> float:
        """Seconds from the request to stop until the run is given up; `grace` in seconds."""
        return grace + self.stop_margin

    def cooperative_timeout(self, grace: float) -> float:
        """Seconds in which the executor may return by itself; `grace` in seconds."""
        return grace * self.cooperative_share + self.stop_margin / 2


DEFAULT_POLICY: Final = Policy()


class _ExecutorWithPolicy:
    """An executor, and its policy."""

    def __init__(self, executor: Executor, policy: Policy) -> None:
        self._executor = executor
        self.policy = policy

    def __call__(self, context: RunContext, emit: Emit) -> Outcome:
        return self._executor(context, emit)


def with_policy(executor: Executor, policy: Policy) -> Executor:
    """Return the executor with a policy."""
    return _ExecutorWithPolicy(executor, policy)


def policy_of(executor: Executor) -> Policy:
    """Return the policy of an executor; the default one if `with_policy` gave it none."""
    return executor.policy if isinstance(executor, _ExecutorWithPolicy) else DEFAULT_POLICY
