"""What a provider's driver is made of: the run, its connections, and the worker's environment."""

import os
from dataclasses import dataclass

from worker.executors.base import InvalidConfigurationError, RunContext
from worker.executors.connections import ModelConnections


@dataclass(frozen=True, slots=True)
class Setup:
    """One model for one run."""

    provider: str
    model: str
    context: RunContext
    connections: ModelConnections

    def find(self, *names: str) -> str | None:
        """The first of these environment variables that is set and not empty."""
        return next((value for name in names if (value := os.environ.get(name))), None)

    def require(self, *names: str) -> str:
        """The first of these environment variables that is set and not empty.

        Raises:
            InvalidConfigurationError: none is.
        """
        value = self.find(*names)
        if value is None:
            needed = " or ".join(names)
            raise InvalidConfigurationError(f"{self.provider} needs {needed} in the worker's environment.")
        return value
