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
    for name, value in secrets_among(os.environ).items():
        message = message.replace(value, f"[{name}]")
    return message if len(message) <= MAX_LENGTH else message[: MAX_LENGTH - 1] + "…"


def secrets_among(variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of an environment that are named like a secret, and long enough to be one."""
    return {
        name: value
        for name, value in variables.items()
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAMES.search(name)
    }
