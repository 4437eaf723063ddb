"""The keys of model providers in the worker's environment."""

import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

VARIABLES: Final[Sequence[str]] = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_OPENAI_API_KEY",
    "COHERE_API_KEY",
    "CO_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "OLLAMA_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
)
"""Variables whose values are sent in a header."""

_INVALID: Final = re.compile(r"[^\x20-\x7e\xa1-\xff]")
"""Characters that no header can hold: control characters, and those beyond Latin-1."""


class UnfitCredentialError(Exception):
    """A key cannot be sent in a header. The error names the variable and never quotes its value."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            f"{variable} in the worker's environment holds a line end or another character"
            " that a key cannot have: set it anew."
        )
        self.variable = variable


def read(variable: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return a variable without surrounding whitespace; None if nothing is left.

    Raises:
        UnfitCredentialError: the variable is a key that cannot be sent.
    """
    value = environment.get(variable, "").strip()
    if variable in VARIABLES and _INVALID.search(value):
        raise UnfitCredentialError(variable)
    return value or None


def tidy(environment: MutableMapping[str, str] = os.environ) -> list[UnfitCredentialError]:
    """Strip the keys in the environment, for libraries that read it; return an error for each unfit key."""
    wrong = []
    for variable in VARIABLES:
        if variable not in environment:
            continue
        environment[variable] = environment[variable].strip()
        try:
            read(variable, environment)
        except UnfitCredentialError as unfit:
            wrong.append(unfit)
    return wrong
