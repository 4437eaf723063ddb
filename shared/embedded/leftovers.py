"""Servers that an earlier owner of a directory left running."""

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
import structlog

from shared.processes.child import KILL_TIMEOUT, Ladder

POLL: Final = 0.01  # seconds between two looks at a process that was told to end

log = structlog.get_logger(__name__)


def stop_leftovers(program: str, directory: Path, ladder: Ladder) -> None:
    """Stop every process of a program whose current directory this is.

    A process id in a file may belong to somebody else by now; a current directory does not lie.
    The caller holds the directory's lock, so that no living owner is robbed of its server.
    """
    leftovers = list(_processes(program, directory))
    if leftovers:
        log.warning("stopping leftover server", program=program, pids=[process.pid for process in leftovers])
    for signal_number, patience in (*ladder, (signal.SIGKILL, KILL_TIMEOUT)):
        leftovers = _survivors(leftovers, signal_number, patience)


def _processes(program: str, directory: Path) -> Iterator[psutil.Process]:
    where = str(directory.resolve())
    for process in psutil.process_iter():
        try:
            if process.name() == program and process.cwd() == where:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended meanwhile, or another user's and so not ours


def _survivors(
    processes: Sequence[psutil.Process], signal_number: signal.Signals, patience: float
) -> list[psutil.Process]:
    """Send a signal to processes; return those it has not ended within `patience` seconds."""
    alive = [process for process in processes if is_alive(process)]
    for process in alive:
        try:
            process.send_signal(signal_number)
        except psutil.NoSuchProcess:
            continue
    deadline = time.monotonic() + patience
    while (alive := [process for process in alive if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(POLL)
    return alive


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie that nobody has reaped holds nothing any more."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
