"""Things that happen to processes: death, and a sleep from which they wake."""

import signal
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.waiting import wait_until


def kill(*processes: psutil.Process) -> None:
    """SIGKILL processes, and wait until they are dead, also where nobody takes note of it."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(lives, processes)), timeout=60, what=f"the end of {processes}")


def lives(process: psutil.Process) -> bool:
    """Whether a process executes anything still, or has files and connections still.

    A killed process is called a zombie when its first thread has ended. The last one closes its connections,
    to which a server may have sent something until then.
    """
    try:
        if not process.is_running():
            return False
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def with_argument(mark: str) -> list[psutil.Process]:
    """The living processes that have a text in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if mark in str(process.info["cmdline"]) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def of_program(mark: str) -> list[psutil.Process]:
    """The living processes of a program, its shim among them, by the run's id or its whole mark."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(psutil.Error):
            has_mark = process.environ().get("RUNYARD_PROGRAM", "").startswith(mark)
            if has_mark and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@contextmanager
def frozen(processes: Iterable[psutil.Process]) -> Generator[None]:
    """SIGSTOP processes for the length of a block: they answer nothing, and keep their connections."""
    stopped = list(processes)
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def go_on_for(seconds: float) -> None:
    """Let a fault go on: how long it lasts is what the test is about."""
    time.sleep(seconds)


def of_place(place: Path) -> list[psutil.Process]:
    """The living processes of a program in this directory: they work there, or were started for it."""
    return [process for process in psutil.process_iter(["status"]) if _is_of(process, str(place))]


def _is_of(process: psutil.Process, place: str) -> bool:
    if process.info["status"] == psutil.STATUS_ZOMBIE:
        return False
    try:
        return process.cwd().startswith(place) or any(
            value.startswith(place) for value in process.environ().values()
        )
    except psutil.Error:  # it has just ended
        return False
