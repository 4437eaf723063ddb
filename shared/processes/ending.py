"""The end of a process whose threads may be in the middle of something."""

import os
import sys
from typing import NoReturn

from shared.logs import flush_logs


def end_process(code: int) -> NoReturn:
    """End this process now, with what it has said written.

    The interpreter's own end stops daemon threads wherever they are. Inside a library that is not of Python,
    that aborts the process: it dies by a signal, after a line that nobody understands.
    """
    flush_logs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
