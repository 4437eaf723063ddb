"""Render the parts of the manual and of deploy/env.example that the code decides.

    python scripts/render.py [--check]

Each part stands between a line with `NAME:start` and one with `NAME:end`. With `--check` nothing
is written, and a part that differs makes the exit code 1.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from shared import lifecycle
from shared.metrics.definitions import ALL
from shared.metrics.instruments import Counter
from shared.settings import Settings
from worker.reconciler.observer import OBSERVED

ROOT: Final = Path(__file__).resolve().parent.parent


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{Settings.model_config['env_prefix']}{name.upper()}"


def default(field: FieldInfo) -> str:
    """A setting's default as the environment would hold it; empty if it has none."""
    match field.get_default():
        case timedelta() as duration:
            return f"{duration.total_seconds():.10g}"
        case str() | int() | float() as value if not field.is_required():
            return str(value)
        case _:
            return ""


def diagram() -> str:
    """Draw the state diagram for docs/architecture.md."""
    return f"```mermaid\n{lifecycle.mermaid()}\n```"


def table() -> str:
    """Write the table of docs/settings.md."""
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = f"`{default(field)}`" if default(field) else "needed" if field.is_required() else "none"
        rows.append(f"| `{variable(name)}` | {value} | {field.description} |")
    return "\n".join(rows)


def example() -> str:
    """Write the settings of deploy/env.example."""
    return "\n".join(
        f"\n# {field.description}\n# {variable(name)}={default(field)}"
        for name, field in Settings.model_fields.items()
    ).lstrip("\n")


def metrics() -> str:
    """Write the tables of docs/operating/metrics.md."""
    rows = ["| Metric | Labels | Meaning |", "|---|---|---|"]
    for one in sorted(ALL, key=lambda one: one.name):
        name = f"{one.name}_total" if isinstance(one, Counter) else one.name
        rows.append(_row(name, [label.name for label in one.labels], one.description))
    rows += [_row(name, names, about) for name, (about, names) in OBSERVED.items()]
    rows.append(_row("runyard_build_info", ["version"], "The release."))
    return "\n".join(rows)


def _row(name: str, labels: Sequence[str], meaning: str) -> str:
    return f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {meaning} |"


PARTS: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "docs/architecture.md": {"lifecycle": diagram},
    "docs/operating/metrics.md": {"metrics": metrics},
    "docs/settings.md": {"settings": table},
    "deploy/env.example": {"settings": example},
}


def rendered(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A file's text with its parts as they should be.

    Raises:
        ValueError: the marks of a part are not there exactly once.
    """
    for name, render in parts.items():
        start, end = (rf"(?m:^.*\b{name}:{edge}\b.*\n)" for edge in ("start", "end"))
        found = re.findall(rf"{start}(?s:.*?){end}", text)
        if len(found) != 1:
            raise ValueError(f"{name!r} is marked {len(found)} times.")
        first, *_, last = found[0].splitlines(keepends=True)
        text = text.replace(found[0], f"{first}{render()}\n{last}")
    return text


def main() -> None:
    stale = []
    for name, parts in PARTS.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if (wanted := rendered(text, parts)) != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(wanted, encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        sys.exit(f"Not as the code has it: {', '.join(stale)}. Run `make format`.")


if __name__ == "__main__":
    main()
