"""Lists and confirmations of the administrative commands."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import orjson
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from cli.console import is_terminal, notice, output, output_json, output_table
from shared.errors import RunyardError
from shared.instants import rfc3339
from shared.terminal import visible_line

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON. Otherwise a terminal gets a table, a pipe tab-separated lines."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

Item = Mapping[str, Any]
"""One row: values by column name."""

NEVER: Final = "never"


class NotConfirmedError(RunyardError):
    """Nothing was changed. Answer `y`, or give --yes."""


def print_list(items: Sequence[Item], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as JSON, as a table on a terminal, else tab-separated without a header."""
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
        output_json(items, default=plain, option=options)
    elif is_terminal():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            table.add_column(name.replace("_", " "), no_wrap=name.endswith("_id"), overflow="fold")
        for item in items:
            table.add_row(*(Text(cell(_readable(item[name]))) for name in columns))
        output_table(table)
    else:
        for item in items:
            output("\t".join(cell(item[name]) for name in columns))


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user to confirm, unless `yes`.

    Raises:
        NotConfirmedError: the user did not confirm, or no terminal can be asked.
    """
    if yes:
        return
    try:
        meant = typer.confirm(visible_line(question), err=True)
    except typer.Abort:  # no terminal
        notice("")
        meant = False
    if not meant:
        raise NotConfirmedError


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def cell(value: Any) -> str:
    """A value in one line, without control characters; None is `never`."""
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
    """Convert an instant to local time; return any other value unchanged."""
    return f"{value.astimezone():%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value


def plain(value: object) -> str:
    """A value that JSON does not know, as text: an instant by RFC 3339, a duration in seconds.

    Raises:
        TypeError: there is no such text.
    """
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.10g}"
    raise TypeError
