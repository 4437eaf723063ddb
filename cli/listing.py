"""Lists and confirmations of the administrative commands."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import orjson
import typer

from cli.console import answers, is_terminal, notice, output, output_block, output_json
from cli.tables import Column, Item, Table, cell
from shared.errors import RunyardError
from shared.instants import rfc3339
from shared.terminal import visible_line

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON. Otherwise a terminal gets a table, a pipe tab-separated lines."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


class NotConfirmedError(RunyardError):
    """Nothing was changed. Answer `y`, or give --yes."""


def print_list(items: Sequence[Item], columns: Sequence[Column], *, as_json: bool) -> None:
    """Print rows: as JSON, as a table on a terminal, else tab-separated without a header.

    A remark on standard error names the columns that have no room on the terminal.
    """
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATETIME
        output_json(items, default=plain, option=options)
    elif is_terminal():
        table = Table(items, columns)
        output_block(table)
        if left_out := [column.header(has_ages=True) for column in table.layout(answers().width).left_out]:
            notice(f"No room here for: {', '.join(left_out)}. --json has all.")
    else:
        for item in items:
            output("\t".join(cell(item[column.name]) for column in columns))


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
