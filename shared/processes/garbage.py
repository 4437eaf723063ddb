"""The garbage collector of a server process."""

import gc
from typing import Final

LOADING: Final = (1_000_000, 20, 50)
"""The thresholds while a process loads its code, which makes up to half a million objects. Nearly all of
them stay: to search them is a seventh of what the start takes, and finds a few megabytes at the most."""

THRESHOLDS: Final = (20_000, 20, 50)
"""Objects that are made before the young, the middle and the old generation are searched. Python's own
thresholds (700, 10, 10) search the whole heap again and again while streams and runs come and go."""


def load_unsearched() -> None:
    """Search for no garbage while the code is loaded.

    A process calls it before it loads its code, and `settle_garbage` before it serves.
    """
    gc.set_threshold(*LOADING)


def search_less() -> None:
    """Search for garbage less often.

    Most objects die by their reference counts either way; cycles stay until 20,000 more objects are made,
    which is a few megabytes.
    """
    gc.set_threshold(*THRESHOLDS)


def settle_garbage() -> None:
    """Set aside what a process has loaded, and search for garbage less often.

    A process calls it once, when it has loaded its code and before it serves. Modules, routes and tables
    live as long as the process, so the collector need not look at them again. Under prefork it runs before
    the fork, so that children share their pages with the parent; a search would make each copy them.
    """
    gc.freeze()
    search_less()
