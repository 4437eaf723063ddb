"""What the command line says: answers to standard output, everything else to standard error."""

from rich.console import Console

_answers = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
_notices = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)


def output(text: str, *, end: str = "\n") -> None:
    """Say what was asked for, at once."""
    _answers.print(text, end=end)


def notice(text: str) -> None:
    """Say something about it."""
    _notices.print(text, style="dim")


def failure(message: str) -> None:
    """Say why it did not work, in one line where that is possible."""
    _notices.print("Error:", style="bold red", end=" ")
    _notices.print(message)
