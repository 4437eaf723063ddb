"""Orphans: processes of a program whose shim died. They bear its mark, or became children of this process."""

import ctypes
import os
import resource
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from worker.executors.program.shim import PR_SET_CHILD_SUBREAPER, children, descendants, kill_groups

MARK: Final = "RUNYARD_PROGRAM"
"""The variable that marks the processes of a program; they inherit it."""

KILL_TIMEOUT: Final = 5.0  # seconds; a program may fork while it is killed
KILL_INTERVAL: Final = 0.01  # seconds between two rounds

log = structlog.get_logger(__name__)


def adopt_orphans() -> None:
    """Make this process the subreaper: orphans below it become its children, not those of process 1."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans(known: Collection[int]) -> None:
    """Kill programs that became children of this process, and reap other children that ended.

    Args:
        known: children that other code of this process waits for.
    """
    for pid in set(children(os.getpid())).difference(known):
        if _is_program(pid):
            log.warning("orphan of a program killed", pid=pid)
            _kill({pid, *descendants(pid)})
        _reap(pid)


def kill_marked_processes(mark: str) -> None:
    """Kill the processes with a mark, orphans of programs, and their descendants, until none is left.

    A process without the variable is found as an orphan: it became our child when its shim died.
    """
    deadline = time.monotonic() + KILL_TIMEOUT
    while pids := _marked_and_orphans(mark):
        if time.monotonic() > deadline:
            log.error("processes of a program left behind", pids=sorted(pids))
            return
        _kill(pids)
        for pid in pids:
            _reap(pid)
        time.sleep(KILL_INTERVAL)


def _kill(pids: Collection[int]) -> None:
    kill_groups(pids)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _marked_and_orphans(mark: str) -> set[int]:
    entry = f"{MARK}={mark}".encode()
    marked: set[int] = set()
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is another user's
            if process.name.isdecimal() and entry in (process / "environ").read_bytes().split(b"\0"):
                marked.add(int(process.name))
    orphans = {pid for pid in children(os.getpid()) if _is_program(pid)}
    return (marked | orphans).union(*map(descendants, marked | orphans))


def _is_program(pid: int) -> bool:
    """Whether a child of this process has a limit of CPU time that is lower than its own, as programs have.

    They cannot raise it. Shims and other children of a worker have the worker's, so such a child is an orphan
    of a program.
    """
    _, own = resource.getrlimit(resource.RLIMIT_CPU)
    limit = _cpu_limit(pid)
    return limit is not None and (own == resource.RLIM_INFINITY or limit < own)


def _cpu_limit(pid: int) -> int | None:
    """Return the hard limit of CPU seconds of a process; None if it has none, or has ended."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    hard = next((line.split()[4] for line in lines if line.startswith("Max cpu time")), "unlimited")
    return int(hard) if hard.isdecimal() else None


def _reap(pid: int) -> None:
    """Reap a child that ended; other processes are left to their parents."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
