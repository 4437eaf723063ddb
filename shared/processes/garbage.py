"""The garbage collector of a server process."""

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""Objects that are made before the young, the middle and the old generation are searched. Python's own
thresholds (700, 10, 10) search the whole heap again and again while streams and runs come and go."""


def search_less() -> None:
    """Search for garbage less often.

    A process calls it before it loads its code, which makes objects that stay: to search them again and
    again is a sixth of what the start takes. Most objects die by their reference counts either way; cycles
    stay until 20,000 more objects are made, which is a few megabytes.
    """
    gc.set_threshold(*THRESHOLDS)


def settle_garbage() -> None:
    """Set aside what a process has loaded, and search for garbage less often.

    A process calls it once, when it has loaded its code and before it serves. Modules, routes and tables
    live as long as the process, so the collector need not look at them again. Under prefork it runs before
    the fork, so that children share their pages with the parent.
    """
    gc.collect()
    gc.freeze()
    search_less()
