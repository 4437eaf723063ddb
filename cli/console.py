"""Output of the command line: results to standard output, everything else to standard error.

Texts may come from other users, so control characters are made visible rather than sent to the terminal.
"""

from typing import Any, Final

import orjson
from rich.console import Console, RenderableType
from rich.table import Table

from shared.terminal import ascii_json, visible, visible_json, visible_line

FILE_WIDTH: Final = 240
"""Columns of tables that go to no terminal."""

_answers = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
_notices = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)


def output(text: str, *, end: str = "\n") -> None:
    """Print a part of the result, unbuffered."""
    _write(visible(text) + end)


def output_line(text: str) -> None:
    """Print a text as exactly one line."""
    _write(visible_line(text) + "\n")


def output_json(value: Any, **options: Any) -> None:
    """Print a value as JSON; control characters are escaped, so it reads back unchanged.

    So is all that is not ASCII, where the output is not Unicode.
    """
    text = visible_json(orjson.dumps(value, **options).decode())
    try:
        text.encode(_answers.encoding)
    except UnicodeEncodeError:
        text = ascii_json(text)
    _write(text + "\n")


def _write(text: str) -> None:
    try:
        _answers.file.write(text)
        _answers.file.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        _answers.on_broken_pipe()


def output_table(table: Table) -> None:
    """Print a table."""
    _answers.print(table, soft_wrap=False)


def output_block(block: RenderableType) -> None:
    """Print tables and lines that hold no control characters; in long lines, if this is no terminal."""
    long = None if is_terminal() else Console(file=_answers.file, width=FILE_WIDTH, color_system=None)
    (long or _answers).print(block, soft_wrap=False, crop=False, highlight=False)
    _answers.file.flush()


def answers() -> Console:
    """The console of standard output, for what draws on it by itself."""
    return _answers


def notices() -> Console:
    """The console of standard error, for what draws on it by itself."""
    return _notices


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return _answers.is_terminal


def notice(text: str) -> None:
    """Print a remark to standard error."""
    _notices.print(visible(text), style="dim")


def failure(message: str) -> None:
    """Print an error to standard error."""
    _notices.print("Error:", style="bold red", end=" ")
    _notices.print(visible(message))
