"""Progress is drawn late, on a terminal alone, and leaves nothing behind."""

import io
import re
import time

import pytest
from rich.console import Console

from cli import progress as shown


@pytest.fixture
def terminal(monkeypatch):
    """What is written to a terminal, and to a file."""

    def terminal(*, is_one=True):
        written = io.StringIO()
        console = Console(file=written, force_terminal=is_one, width=80)
        monkeypatch.setattr(shown, "notices", lambda: console)
        return written

    return terminal


def test_what_is_done_soon_draws_nothing(terminal):
    written = terminal()
    with shown.progress("Checking", total=2, delay=60) as advance:
        advance(1)
    assert "Checking" not in written.getvalue()


def test_what_takes_long_draws_a_bar_and_takes_it_away(terminal):
    written = terminal()
    deadline = time.monotonic() + 30
    with shown.progress("Checking", total=2, delay=0.01) as advance:
        advance(1)
        while not re.search(r"Checking.* 50%", written.getvalue()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert written.getvalue().endswith("\x1b[2K")  # the line is empty again


def test_a_file_gets_no_bar(terminal):
    written = terminal(is_one=False)
    with shown.progress("Checking", delay=0) as advance:
        advance(1)
    assert written.getvalue() == ""


def test_an_error_within_is_raised(terminal):
    terminal()
    with pytest.raises(KeyError), shown.progress("Checking", delay=0):
        raise KeyError
