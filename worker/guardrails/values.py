"""Guarded JSON values: every text in them is checked, keys and long numbers included."""

import re
from typing import Any, Final

from worker.guardrails.guard import Guard

IDENTIFYING: Final = frozenset({"id", "type", "tag", "model", "role", "reference"})
"""Keys whose values name something; so do those that end with `_id` or `_ids`."""

_IDENTIFIER: Final = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]*|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
"""What is plainly a name or an id: a detector of numbers could take it for something else."""

SHORT_NUMBER: Final = 10**6
"""Numbers below are nobody's."""


def screened(value: Any, guard: Guard) -> Any:
    """Return a JSON value with its findings masked.

    Raises:
        GuardrailError: a guardrail that does not mask found something.
    """
    match value:
        case str():
            return guard.screen(value)
        case bool():
            return value
        case int() if abs(value) >= SHORT_NUMBER:
            text = guard.screen(str(value))
            return value if text == str(value) else text
        case dict():
            return {
                key if _IDENTIFIER.fullmatch(key) else guard.screen(key): _field(key, item, guard)
                for key, item in ((str(key), item) for key, item in value.items())
            }
        case list() | tuple():
            return [screened(item, guard) for item in value]
        case _:
            return value


def _field(key: str, value: Any, guard: Guard) -> Any:
    names = value if isinstance(value, list) else [value]
    is_identifying = key in IDENTIFYING or key.endswith(("_id", "_ids"))
    if is_identifying and all(isinstance(one, str) and _IDENTIFIER.fullmatch(one) for one in names):
        return value
    return screened(value, guard)
