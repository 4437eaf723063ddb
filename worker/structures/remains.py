"""Ends what is left of a program whose warden has died: every process that bears the program's mark."""

import os
import signal
import time
import uuid
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from worker.structures.warden import descendants, kill_groups

MARK: Final = "RUNYARD_PROGRAM"
"""The variable by which the processes of a program are known, wherever they hang; they inherit it."""

PATIENCE: Final = 5.0  # seconds; a program may start more of itself while it is killed
PAUSE: Final = 0.01  # seconds between two looks

log = structlog.get_logger(__name__)


def new_mark() -> str:
    """A value of MARK that no other program has."""
    return uuid.uuid4().hex


def end_remains(mark: str) -> None:
    """Kill what bears a mark, and what is below it, until there is nothing.

    What hangs elsewhere and was started with an environment without the mark is not found.
    """
    deadline = time.monotonic() + PATIENCE
    while pids := _remains(mark):
        if time.monotonic() > deadline:
            log.error("processes of a program left behind", pids=sorted(pids))
            return
        kill_groups(pids)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        time.sleep(PAUSE)


def _remains(mark: str) -> set[int]:
    bearers = set(_bearers(f"{MARK}={mark}".encode()))
    return bearers.union(*map(descendants, bearers))


def _bearers(entry: bytes) -> Generator[int]:
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is another user's
            if process.name.isdecimal() and entry in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
