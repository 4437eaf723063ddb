"""Servers that an earlier owner of a directory left running."""

import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import structlog

from cli.local.processes.child import KILL_TIMEOUT, StopSequence, is_alive

POLL_INTERVAL: Final = 0.01  # seconds

log = structlog.get_logger(__name__)


def stop_leftovers(program: str, directory: Path, stop_sequence: StopSequence) -> None:
    """Stop every process of a program whose current directory is `directory`.

    A process id from a file may belong to another process by now, a current directory does not.
    The caller holds the directory's lock, so no running owner loses its server.
    """
    where = str(directory.resolve())
    alive = []
    for process in psutil.process_iter():
        try:
            if process.name() == program and process.cwd() == where:
                alive.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended, or another user's
    if alive:
        log.warning("stopping leftover server", program=program, pids=[process.pid for process in alive])
    for signal_number, timeout in (*stop_sequence, (signal.SIGKILL, KILL_TIMEOUT)):
        alive = [process for process in alive if is_alive(process)]
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)
        deadline = time.monotonic() + timeout
        while (alive := [process for process in alive if is_alive(process)]) and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL)
