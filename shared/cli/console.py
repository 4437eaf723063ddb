"""What the command line says: answers to standard output, everything else to standard error."""

from rich.console import Console
from rich.table import Table

_answers = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
_notices = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)


def output(text: str, *, end: str = "\n") -> None:
    """Say what was asked for, at once and to the letter: it may go into a file or another program."""
    try:
        _answers.file.write(text + end)
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
    _notices.print(text, style="dim")


def failure(message: str) -> None:
    """Say why it did not work, in one line where that is possible."""
    _notices.print("Error:", style="bold red", end=" ")
    _notices.print(message)
