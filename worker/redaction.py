"""Keeping secrets of the environment out of what people read."""

import os
import re
from collections.abc import Mapping
from typing import Final

MAX_LENGTH: Final = 2_000
"""Characters of a message for people; a provider's answer may be a whole page."""

_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|_URL|AUTH)", re.IGNORECASE)
_SHORTEST_SECRET: Final = 8


def redact(message: str) -> str:
    """Blot out every secret value of the environment, and trim what is too long to read."""
    message = blot(message, os.environ)
    return message if len(message) <= MAX_LENGTH else message[: MAX_LENGTH - 1] + "…"


def blot(text: str, variables: Mapping[str, str]) -> str:
    """Replace every value of a variable that is named like a secret by the variable's name."""
    for name, value in variables.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAMES.search(name):
            text = text.replace(value, f"[{name}]")
    return text
