"""The line between a worker process and its supervisor: by it either knows how the other fares."""

import os
import signal
import socket
from functools import partial
from typing import Final

import structlog

from worker.vitals import vitals

EX_RECYCLE: Final = 75
"""The exit code of a process that left a run behind: replace it at once. EX_TEMPFAIL in sysexits.h."""

SUCCESSOR_WANTED: Final = b"s"
"""What a process says that takes nothing new, though its runs go on."""

log = structlog.get_logger(__name__)

_line: socket.socket | None = None  # of this process; None if nobody supervises it


def hold(descriptor: int) -> None:
    """Hold this process's end of its line from now on; drain if the supervisor lets go of the other."""
    global _line  # noqa: PLW0603  # a process has one supervisor, and signals reach for it
    _line = socket.socket(fileno=descriptor)
    vitals.start("lifeline", partial(_watch, _line))


def ask_for_successor() -> None:
    """Have another process started in the place of this one; unsupervised, nothing happens."""
    if _line is None:
        return
    try:
        _line.sendall(SUCCESSOR_WANTED)
    except OSError as error:  # no supervisor any more; the watch knows what to do
        log.warning("no successor asked for", error=str(error))


def _watch(line: socket.socket) -> None:
    try:
        while line.recv(1):  # the supervisor says nothing; the end of the line is its death
            pass
    except OSError as error:
        log.info("lifeline broken", error=str(error))
    log.warning("supervisor lost")
    os.kill(os.getpid(), signal.SIGTERM)
