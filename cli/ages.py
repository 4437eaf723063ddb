"""Ages on the command line: how long something is kept."""

from datetime import timedelta
from typing import Final

import typer

from shared.durations import parse_duration
from shared.retention.policy import KEEP
from shared.setting_types import SHORTEST_RETENTION

DEFAULT: Final = timedelta(microseconds=-1)
"""Stands for what the settings say."""


def read_age(text: str) -> timedelta:
    """Read an age from which something is deleted, such as `30d`.

    Raises:
        typer.BadParameter: it is none, or a shorter one than anything is kept for.
    """
    try:
        age = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if age < SHORTEST_RETENTION:
        raise typer.BadParameter("must be at least 1h")
    return age


def read_retention(text: str) -> timedelta:
    """Read an age, or `keep` (`KEEP`), or `default` (`DEFAULT`).

    Raises:
        typer.BadParameter: as `read_age`.
    """
    match text:
        case "keep":
            return KEEP
        case "default":
            return DEFAULT
        case _:
            return read_age(text)
