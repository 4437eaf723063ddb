"""Our descendants: adopted when they are orphaned, and ended when a block ends."""

import ctypes
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from shared.processes import child

PR_SET_CHILD_SUBREAPER: Final = 36


@contextmanager
def no_orphans() -> Generator[None]:
    """End whatever was started in the block, by us or by what we started, and still runs after it.

    On Linux that includes what lost its parent, which becomes our child then.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before = {process.pid for process in child.descendants(os.getpid())}
    try:
        yield
    finally:
        child.kill(process for process in child.descendants(os.getpid()) if process.pid not in before)
