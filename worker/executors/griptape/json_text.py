"""JSON that a provider or its model has written."""

import json
import re
from typing import Any, Final

DEEPEST: Final = 100
"""Levels of JSON that is read: whatever goes through more of them would end at the interpreter's limit."""

BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|([{\[])|([}\]])')
"""Texts, which may hold brackets of their own, brackets that open, and those that close."""


def load(text: str) -> Any:
    """What a JSON text says; line ends in its strings are let pass.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    # Before it is parsed: at the interpreter's limit whatever else runs would fail, too.
    if text.count("{") + text.count("[") > DEEPEST and not _is_shallow(text):
        raise ValueError("nested too deeply")
    return json.loads(text, strict=False)


def _is_shallow(text: str) -> bool:
    depth = 0
    for found in BRACKETS.finditer(text):
        depth += (found[1] is not None) - (found[2] is not None)
        if depth > DEEPEST:
            return False
    return True
