"""What each provider needs in the worker's environment before its library is worth loading."""

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
    """The first of these environment variables that is set and not blank, without space around it.

    Raises:
        InvalidConfigurationError: it is a key that cannot be sent.
    """
    try:
        return next((value for name in names if (value := credentials.read(name))), None)
    except credentials.UnfitCredentialError as unfit:
        raise InvalidConfigurationError(str(unfit)) from unfit


def require(provider: str, *names: str) -> str:
    """The first of these environment variables that is set and not blank.

    Raises:
        InvalidConfigurationError: none is, or it is a key that cannot be sent.
    """
    value = find(*names)
    if value is None:
        needed = " or ".join(names)
        raise InvalidConfigurationError(f"{provider} needs {needed} in the worker's environment.")
    return value


def require_all(provider: str) -> None:
    """Check that a provider has what it needs.

    Raises:
        InvalidConfigurationError: it has not.
    """
    for names in _NEEDS.get(provider, ()):
        require(provider, *names)
