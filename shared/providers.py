"""The names of model providers: the part of a model string before the slash."""

from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "runyard.executors"
"""Entry points of other distributions: the name is the provider, the object an executor."""

ECHO: Final = "echo"
FRAMEWORK_PROVIDERS: Final = frozenset(
    {ECHO, "amazon-bedrock", "anthropic", "azure-openai", "cohere", "google", "ollama", "openai"}
)


def known_providers() -> frozenset[str]:
    """Those of the framework, and those that are installed beside it."""
    return FRAMEWORK_PROVIDERS | {point.name for point in entry_points(group=GROUP)}
