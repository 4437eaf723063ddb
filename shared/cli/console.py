"""What the command line says: answers to standard output, everything else to standard error.

Much of it was written by others: whatever would steer the reader's terminal is shown, not sent.
"""

from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from shared.terminal import visible, visible_json, visible_line

_answers = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
_notices = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)


def output(text: str, *, end: str = "\n") -> None:
    """Say what was asked for, at once; into a file or another program as to a person."""
    _write(visible(text) + end)


def output_line(text: str) -> None:
    """Say something that is one line, whatever is in it."""
    _write(visible_line(text) + "\n")


def output_json(value: Any, **options: Any) -> None:
    """Say what was asked for as JSON; what is read from it is what was given, to the letter."""
    _write(visible_json(orjson.dumps(value, **options).decode()) + "\n")


def _write(text: str) -> None:
    try:
        _answers.file.write(text)
        _answers.file.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        _answers.on_broken_pipe()


def output_table(table: Table) -> None:
    """Show what was asked for to a person."""
    _answers.print(table, soft_wrap=False)


def is_terminal() -> bool:
    """Whether a person reads the answers."""
    return _answers.is_terminal


def notice(text: str) -> None:
    """Say something about it."""
    _notices.print(visible(text), style="dim")


def failure(message: str) -> None:
    """Say why it did not work, in one line where that is possible."""
    _notices.print("Error:", style="bold red", end=" ")
    _notices.print(visible(message))
