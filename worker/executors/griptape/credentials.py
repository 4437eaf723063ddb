"""The environment variables that each provider requires."""

from collections.abc import Mapping
from typing import Final

from worker import credentials
from worker.executors.base import InvalidConfigurationError

_NEEDS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "anthropic": (("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),),
    "azure-openai": (("AZURE_OPENAI_ENDPOINT",), ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")),
    "cohere": (("COHERE_API_KEY", "CO_API_KEY"),),
    "google": (("GOOGLE_API_KEY", "GEMINI_API_KEY"),),
    "openai": (("OPENAI_API_KEY", "OPENAI_BASE_URL"),),
}
"""One of each group of variables. Ollama and Amazon Bedrock can be called without any."""


def find(*names: str) -> str | None:
    """Return the first of these environment variables that is set and not blank, stripped.

    Raises:
        InvalidConfigurationError: the value cannot be sent as a key.
    """
    try:
        return next((value for name in names if (value := credentials.read(name))), None)
    except credentials.UnfitCredentialError as unfit:
        raise InvalidConfigurationError(str(unfit)) from unfit


def require(provider: str, *names: str) -> str:
    """Return the first of these environment variables that is set and not blank, stripped.

    Raises:
        InvalidConfigurationError: none is set, or the value cannot be sent as a key.
    """
    value = find(*names)
    if value is None:
        needed = " or ".join(names)
        raise InvalidConfigurationError(f"{provider} needs {needed} in the worker's environment.")
    return value


def require_all(provider: str) -> None:
    """Check that the environment has the variables of a provider.

    Raises:
        InvalidConfigurationError: one is missing.
    """
    for names in _NEEDS.get(provider, ()):
        require(provider, *names)
