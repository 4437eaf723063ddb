"""What a provider's driver is made of: the run, its connections, and the worker's environment."""

from dataclasses import dataclass

from worker import credentials
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
        """The first of these environment variables that is set and not empty.

        Raises:
            InvalidConfigurationError: it is a key that cannot be sent.
        """
        try:
            return next((value for name in names if (value := credentials.read(name))), None)
        except credentials.UnfitCredentialError as unfit:
            raise InvalidConfigurationError(str(unfit)) from unfit

    def require(self, *names: str) -> str:
        """The first of these environment variables that is set and not empty.

        Raises:
            InvalidConfigurationError: none is, or it is a key that cannot be sent.
        """
        value = self.find(*names)
        if value is None:
            needed = " or ".join(names)
            raise InvalidConfigurationError(f"{self.provider} needs {needed} in the worker's environment.")
        return value
