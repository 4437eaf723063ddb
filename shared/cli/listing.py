"""What the commands that administer have in common: lists, and being sure before deleting."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from shared.cli.console import is_terminal, notice, output, output_json, output_table
from shared.errors import RunyardError
from shared.instants import rfc3339
from shared.terminal import visible_line

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON; else a table, or tab-separated lines into a pipe.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

Item = Mapping[str, Any]
"""What is known of one thing, by the name of the column."""

NEVER: Final = "never"


class NotConfirmedError(RunyardError):
    """Nothing was deleted. Answer `y`, or give --yes to go without asking."""


def print_list(items: Sequence[Item], columns: Sequence[str], *, as_json: bool) -> None:
    """Print things, one a row: as JSON, as a table on a terminal, else tab-separated without a header."""
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
        output_json(items, default=_plain, option=options)
    elif is_terminal():
        output_table(_table(items, columns))
    else:
        for item in items:
            output("\t".join(_cell(item[name]) for name in columns))


def confirm(question: str, *, yes: bool) -> None:
    """Return if this is meant to be done.

    Raises:
        NotConfirmedError: it is not.
    """
    if yes:
        return
    try:
        meant = typer.confirm(visible_line(question), err=True)
    except typer.Abort:  # there is nobody to answer
        notice("")
        meant = False
    if not meant:
        raise NotConfirmedError


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _table(items: Sequence[Item], columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "), no_wrap=name.endswith("_id"), overflow="fold")
    for item in items:
        table.add_row(*(Text(_cell(_readable(item[name]))) for name in columns))
    return table


def _cell(value: Any) -> str:
    """A value in one line, without anything that would steer a terminal."""
    match value:
        case None:
            said = NEVER
        case datetime():
            said = rfc3339(value)
        case list():
            said = ", ".join(map(str, value))
        case _:
            said = str(value)
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in said
    )


def _readable(value: Any) -> Any:
    """An instant by the reader's clock; everything else as it is."""
    return f"{value.astimezone():%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError
