"""User ids for programs: each program has one of its own until its last process ends."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.executors.base import PlatformError
from worker.executors.program.shim import KILL_USER_TIMEOUT
from worker.executors.program.shim import __file__ as shim_file

LOCKS: Final = "runyard-users"


@dataclass(frozen=True, slots=True)
class Account:
    """A user id that no other program on this machine has; the open descriptor holds its lock."""

    uid: int
    descriptor: int


@contextmanager
def lent_account(first: int, count: int) -> Generator[Account]:
    """Lend a user id to a program.

    A process that may outlive this one and run as that user inherits the descriptor: the user id is free once
    no process has it open.

    Raises:
        PlatformError: all user ids are taken, or root has no directory of its own for the locks.
    """
    directory = _own_directory()
    for uid in range(first, first + count):
        descriptor = os.open(directory / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield Account(uid, descriptor)
        finally:
            os.close(descriptor)
        return
    raise PlatformError(f"All {count} users for programs are taken (RUNYARD_STRUCTURE_UIDS).")


def _own_directory() -> Path:
    """Return the directory of the locks: root's own, and the same for all workers of this machine."""
    for parent in (Path("/run"), Path(tempfile.gettempdir())):
        directory = parent / LOCKS
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = directory.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return directory
    raise PlatformError("There is no directory for the locks of the user ids of programs.")


def give(account: Account, workdir: Path) -> None:
    """Make the account the owner of a directory and its content."""
    for directory, _, files in os.walk(workdir):
        for path in (directory, *(os.path.join(directory, name) for name in files)):  # noqa: PTH118  # many
            os.chown(path, account.uid, account.uid, follow_symlinks=False)
        for name in os.listdir(directory):  # noqa: PTH208  # includes links to directories, which a walk leaves out
            os.chown(os.path.join(directory, name), account.uid, account.uid, follow_symlinks=False)  # noqa: PTH118


def end_user(uid: int) -> None:
    """Kill every process of a user, and remove its files from directories open to all. Needs root."""
    subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-I", "-S", shim_file, "kill-user", str(uid)],
        env={},
        check=False,
        timeout=2 * KILL_USER_TIMEOUT,
    )
