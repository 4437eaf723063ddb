"""Ends what is left of a program whose warden has died: what bears its mark, and what comes back to us."""

import ctypes
import os
import signal
import time
import uuid
from collections.abc import Collection, Generator
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from worker.structures.warden import NICE, PR_SET_CHILD_SUBREAPER, children, descendants, kill_groups

MARK: Final = "RUNYARD_PROGRAM"
"""The variable by which the processes of a program are known, wherever they hang; they inherit it."""

PATIENCE: Final = 5.0  # seconds; a program may start more of itself while it is killed
MOST_NICE: Final = 19  # the kernel knows no more
PAUSE: Final = 0.01  # seconds between two looks

log = structlog.get_logger(__name__)


def new_mark() -> str:
    """A value of MARK that no other program has."""
    return uuid.uuid4().hex


def adopt_orphans() -> None:
    """Have what loses its parent below this process become a child of it, instead of process 1's."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(known: Collection[int]) -> None:
    """Kill programs that have become children of this process, and take note of other children's ends.

    Args:
        known: children that somebody else here waits for.
    """
    for pid in set(children(os.getpid())).difference(known):
        if _is_program(pid):
            log.warning("orphan of a program killed", pid=pid)
            _kill({pid, *descendants(pid)})
        _take_note_of_end(pid)


def end_remains(mark: str) -> None:
    """Kill what bears a mark, what has come back to this process, and what is below, until there is nothing.

    What cleaned its environment is found by having become our child: its warden is dead.
    """
    deadline = time.monotonic() + PATIENCE
    while pids := _remains(mark):
        if time.monotonic() > deadline:
            log.error("processes of a program left behind", pids=sorted(pids))
            return
        _kill(pids)
        for pid in pids:
            _take_note_of_end(pid)
        time.sleep(PAUSE)


def _kill(pids: Collection[int]) -> None:
    kill_groups(pids)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _remains(mark: str) -> set[int]:
    bearers = set(_bearers(f"{MARK}={mark}".encode()))
    orphans = {pid for pid in children(os.getpid()) if _is_program(pid)}
    return (bearers | orphans).union(*map(descendants, bearers | orphans))


def _is_program(pid: int) -> bool:
    """Whether a child of this process is as nice as programs are; none of them can be less so again.

    A warden is not, nor is what else a worker starts: such a child is a program's whose warden has died.
    """
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        return own < min(own + NICE, MOST_NICE) <= os.getpriority(os.PRIO_PROCESS, pid)
    except ProcessLookupError:
        return False


def _take_note_of_end(pid: int) -> None:
    """Let the kernel forget a child that has ended; one that is no child of ours is another's to wait for."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _bearers(entry: bytes) -> Generator[int]:
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is another user's
            if process.name.isdecimal() and entry in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
