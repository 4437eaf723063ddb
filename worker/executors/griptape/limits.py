"""The token limits of models: a table in `models.json`, and the operator's own file."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from worker.executors.base import InvalidConfigurationError

WINDOW: Final = "window"
OUTPUT: Final = "output"
_OF_ASSISTANT: Final = "assistant/"


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """The context window of a model and the size of its answers, in tokens."""

    window: int
    output: int


def limits_of(
    provider: str, model: str, options: Mapping[str, Any], *, assistant_id: uuid.UUID | None = None
) -> ModelLimits:
    """The limits of a model.

    Args:
        provider: its provider.
        model: its name there; what a name holds is enough, so that those of gateways are known.
        options: of an operator: `model_limits` is a file like the table, whose entries go first;
            `model_window` and `model_max_tokens` are limits of every model.
        assistant_id: whose run it is for: an entry `assistant/<id>` of that file goes before all the rest.

    Raises:
        InvalidConfigurationError: the operator's file cannot be read.
    """
    found = _find(_table(None), provider, model)
    if path := options.get("model_limits"):
        found = _find(_table(str(path)), provider, model, found)
    if window := options.get("model_window"):
        found = replace(found, window=int(window))
    if output := options.get("model_max_tokens"):
        found = replace(found, output=int(output))
    if path and assistant_id is not None:
        found = replace(found, **_table(str(path)).get(f"{_OF_ASSISTANT}{assistant_id}", {}))
    return found


def _find(
    table: Mapping[str, Mapping[str, int]], provider: str, model: str, known: ModelLimits | None = None
) -> ModelLimits:
    """The limits of the longest name that the model's holds; the rest is as known, or the default."""
    full = f"{provider}/{model}".lower()
    known_names = (name for name in table if not name.startswith(_OF_ASSISTANT) and name.lower() in full)
    names = sorted(known_names, key=len, reverse=True)
    said = [table[name] for name in names]
    fallback = known or ModelLimits(**table["default"])
    return ModelLimits(
        window=next((int(each[WINDOW]) for each in said if WINDOW in each), fallback.window),
        output=next((int(each[OUTPUT]) for each in said if OUTPUT in each), fallback.output),
    )


@cache
def _table(path: str | None) -> Mapping[str, Mapping[str, int]]:
    source = Path(path) if path else files("worker.executors") / "models.json"
    try:
        table = json.loads(source.read_text(encoding="utf-8"))
        return {
            str(name): {key: int(entry[key]) for key in (WINDOW, OUTPUT) if key in entry}
            for name, entry in table.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidConfigurationError(f"The table of models' limits cannot be read: {error}.") from error
