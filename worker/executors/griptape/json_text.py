"""JSON that a provider or its model has written."""

import json
from typing import Any, Final

DEEPEST: Final = 100
"""Levels of JSON that is read: whatever goes through more of them would end at the interpreter's limit."""


def load(text: str) -> Any:
    """What a JSON text says; line ends in its strings are let pass.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        found = json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if text.count("{") + text.count("[") > DEEPEST and not _is_shallow(found):
        raise ValueError("nested too deeply")
    return found


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return True
    return False
