"""Descendants of this process: adopted when orphaned, killed when a block ends."""

import ctypes
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from cli.local.processes import child

PR_SET_CHILD_SUBREAPER: Final = 36


@contextmanager
def no_orphans() -> Generator[None]:
    """Kill every descendant that was started in the block and still runs after it.

    On Linux that includes orphans, which become children of this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before = {process.pid for process in child.descendants(os.getpid())}
    try:
        yield
    finally:
        child.kill(process for process in child.descendants(os.getpid()) if process.pid not in before)
