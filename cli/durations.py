"""Durations on the command line: `90s`, `15m`, `2h`, `7d`."""

from datetime import timedelta

import typer

from shared.durations import parse_duration


def read_duration(text: str) -> timedelta:
    """Return the duration of a text.

    Raises:
        typer.BadParameter: the text is none, or a negative one.
    """
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}.") from error
    if duration < timedelta(0):
        raise typer.BadParameter(f"{text!r} is negative.")
    return duration


def ago(seconds: float) -> str:
    """An age for people, in its largest unit: `12m ago`. Clocks differ, so less than nothing is `now`."""
    whole = int(seconds)
    for size, unit, least in ((86_400, "d", 2), (3600, "h", 1), (60, "m", 1), (1, "s", 1)):
        if whole >= least * size:
            return f"{whole // size}{unit} ago"
    return "now"


def short(seconds: float) -> str:
    """A duration for people, in its two largest units."""
    if seconds < 10:  # noqa: PLR2004  # below it, tenths matter
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, large, per, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // per
            return f"{whole // size} {large} {rest} {small}" if rest else f"{whole // size} {large}"
    return f"{whole} s"
