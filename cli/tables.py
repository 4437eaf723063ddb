"""Tables for people: a row is one line, and what is copied from it is whole, however narrow the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import zip_longest
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.text import Text

from cli.durations import ago
from shared.instants import rfc3339

Item = Mapping[str, Any]
"""One row: values by column name."""

NEVER: Final = "never"

GAP: Final = "  "
"""Stands between two columns, and twice before a line below a row."""


class Fit(Enum):
    """What becomes of a text that has no room."""

    WHOLE = auto()  # never cut and never broken: ids, names to copy, statuses, numbers
    CUT = auto()  # it ends in an ellipsis
    WRAPPED = auto()  # it goes on in the next line: prose


LEAST: Final = {Fit.CUT: 10, Fit.WRAPPED: 24}
"""Columns on the screen below which a text is not narrowed."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    fit: Fit = Fit.WHOLE
    rank: int = 0  # where there is no room, the highest goes first; 0 stays
    is_below: bool = False  # it goes to a line below the row, with all others that do

    def header(self, *, has_ages: bool) -> str:
        """The name for people; an age is of `created`, a time is `created at`."""
        return (self.name.removesuffix("_at") if has_ages else self.name).replace("_", " ")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is drawn at some width."""

    widths: Mapping[Column, int]
    below: tuple[Column, ...]
    left_out: tuple[Column, ...]
    has_ages: bool  # rather than times


class Table:
    """Rows for a terminal. Rich draws it at the width that it has."""

    def __init__(self, items: Sequence[Item], columns: Sequence[Column]) -> None:
        now = datetime.now(UTC)
        self._columns = tuple(columns)
        self._texts = {
            has_ages: [
                {one.name: cell(_readable(item[one.name], now if has_ages else None)) for one in columns}
                for item in items
            ]
            for has_ages in (False, True)
        }
        self._naturals = {
            (column, has_ages): max(
                map(cell_len, (column.header(has_ages=has_ages), *(row[column.name] for row in rows)))
            )
            for has_ages, rows in self._texts.items()
            for column in columns
        }  # the widths of the longest texts

    def layout(self, width: int) -> Layout:
        """Return the layout for a width: times become ages, then columns go below, then they are left out."""
        for has_ages in (False, True):
            if self._fits(self._columns, width, has_ages=has_ages):
                return self._layout(self._columns, width, has_ages=has_ages)
        kept = [column for column in self._columns if not column.is_below]
        while (
            not self._fits(kept, width, has_ages=True) and (last := max(kept, key=lambda one: one.rank)).rank
        ):
            kept.remove(last)
        return self._layout(kept, width, has_ages=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        layout = self.layout(options.max_width)
        names = [
            _fitted(column.header(has_ages=layout.has_ages), width) for column, width in layout.widths.items()
        ]
        yield _line(_joined(names, layout), "bold")
        yield _line("─" * (sum(layout.widths.values()) + len(GAP) * (len(layout.widths) - 1)), "dim")
        for texts in self._texts[layout.has_ages]:
            parts = [
                _wrapped(texts[column.name], width, console)
                if column.fit is Fit.WRAPPED
                else [_fitted(texts[column.name], width) if column.fit is Fit.CUT else texts[column.name]]
                for column, width in layout.widths.items()
            ]
            for cells in zip_longest(*parts, fillvalue=""):
                yield _line(_joined(cells, layout))
            if said := [text for column in layout.below if (text := texts[column.name])]:
                # A long text leaves room for those that follow.
                first = [_fitted(text, options.max_width // 3) for text in said[:-1]]
                yield _line(_fitted(2 * GAP + GAP.join([*first, said[-1]]), options.max_width))

    def _least(self, column: Column, *, has_ages: bool) -> int:
        """The width below which a column is not narrowed."""
        natural = self._naturals[column, has_ages]
        if column.fit is Fit.WHOLE:
            return natural
        return min(natural, max(LEAST[column.fit], cell_len(column.header(has_ages=has_ages))))

    def _fits(self, columns: Sequence[Column], width: int, *, has_ages: bool) -> bool:
        least = sum(self._least(column, has_ages=has_ages) for column in columns)
        return least + len(GAP) * (len(columns) - 1) <= width

    def _layout(self, columns: Sequence[Column], width: int, *, has_ages: bool) -> Layout:
        """Share the room that is left among the columns that could need it."""
        widths = {column: self._least(column, has_ages=has_ages) for column in columns}
        room = width - sum(widths.values()) - len(GAP) * (len(columns) - 1)
        wants = {column: self._naturals[column, has_ages] - widths[column] for column in columns}
        hungry = sorted((column for column in columns if wants[column]), key=wants.__getitem__)
        for number, column in enumerate(hungry):
            more = max(0, min(wants[column], room // (len(hungry) - number)))
            widths[column] += more
            room -= more
        away = [column for column in self._columns if column not in widths]
        return Layout(
            widths,
            tuple(column for column in away if column.is_below),
            tuple(column for column in away if not column.is_below),
            has_ages,
        )


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


def _readable(value: Any, now: datetime | None) -> Any:
    """Convert an instant to its age, or without `now` to local time; return any other value unchanged."""
    if not isinstance(value, datetime):
        return value
    if now is None:
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    return ago((now - value).total_seconds())


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _joined(cells: Sequence[str], layout: Layout) -> str:
    padded = (
        text + " " * (width - cell_len(text))
        for text, width in zip(cells, layout.widths.values(), strict=True)
    )
    return GAP.join(padded).rstrip()


def _fitted(text: str, width: int) -> str:
    """Cut a text that is too long, and say so by an ellipsis."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"


def _wrapped(text: str, width: int, console: Console) -> list[str]:
    return [line.plain.rstrip() for line in Text(text).wrap(console, width, overflow="fold")] or [""]
