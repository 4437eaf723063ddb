"""Keeping secrets of the environment out of what people read."""

import os
import re
from typing import Final

MAX_LENGTH: Final = 2_000
"""Characters of a message for people; a provider's answer may be a whole page."""

_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|_URL|AUTH)", re.IGNORECASE)
_SHORTEST_SECRET: Final = 8


def redact(message: str) -> str:
    """Blot out every secret value of the environment, and trim what is too long to read."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAMES.search(name):
            message = message.replace(value, f"[{name}]")
    return message if len(message) <= MAX_LENGTH else message[: MAX_LENGTH - 1] + "…"
