"""Progress of long work: a bar on a terminal, from the third second on, that leaves no trace."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from cli.console import notices

DELAY: Final = 2.0
"""Seconds until a bar appears: what is done by then needs none."""

Advance = Callable[[float], object]
"""Tells that so much more has been done."""


@contextmanager
def progress(what: str, *, total: float | None = None, delay: float = DELAY) -> Generator[Advance]:
    """Show the progress of a block on standard error, if that is a terminal.

    Nothing else may be printed meanwhile.

    Args:
        what: what is being done, for people.
        total: how much there is to do; None if that is not known, and then the bar only moves.
        delay: seconds until the bar appears.
    """
    if not notices().is_terminal:
        yield lambda _done: None
        return
    from rich.progress import Progress  # noqa: PLC0415  # slow to load, and rarely needed

    bar = Progress(console=notices(), transient=True)
    task = bar.add_task(what, total=total)
    timer = threading.Timer(delay, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done: bar.advance(task, done)
    finally:
        timer.cancel()
        timer.join()  # it may just be starting the bar
        bar.stop()
