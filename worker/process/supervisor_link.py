"""A socket pair between worker process and supervisor; each sees EOF when the other dies."""

import os
import signal
import socket
from functools import partial
from typing import Final

import structlog

from shared.processes import silence
from worker.vitals import vitals

EX_RECYCLE: Final = 75
"""The exit code of a process that the supervisor replaces at once. EX_TEMPFAIL in sysexits.h."""

SUCCESSOR_WANTED: Final = b"s"
"""The message of a process that takes no new runs and asks for a successor."""

log = structlog.get_logger(__name__)

_link: socket.socket | None = None  # this process's end; None without a supervisor


def hold(descriptor: int) -> None:
    """Keep this process's end of the link; drain when the supervisor closes the other end."""
    global _link  # noqa: PLW0603  # a process has one supervisor, and signal handlers use the link
    _link = socket.socket(fileno=descriptor)
    vitals.start("supervisor link", partial(_watch, _link))


def ask_for_successor() -> None:
    """Ask the supervisor for a successor of this process; do nothing without a supervisor."""
    if _link is None:
        return
    try:
        _link.sendall(SUCCESSOR_WANTED)
    except OSError as error:  # the supervisor is gone; `_watch` drains the process
        log.warning("successor not requested", error=str(error))


def show_life(*, is_ready: bool) -> None:
    """Show the supervisor that this process lives; never wait for it."""
    if _link is not None:
        silence.show_life(_link, is_ready=is_ready)


def _watch(link: socket.socket) -> None:
    try:
        while link.recv(1):  # the supervisor sends nothing; EOF is its death
            pass
    except OSError as error:
        log.info("supervisor link broken", error=str(error))
    log.warning("supervisor lost")
    os.kill(os.getpid(), signal.SIGTERM)
