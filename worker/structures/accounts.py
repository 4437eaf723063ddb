"""Users of the operating system for programs: each has one for as long as anything of it lives."""

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
from worker.structures.warden import EMPTYING
from worker.structures.warden import __file__ as warden_file

LOCKS: Final = "runyard-users"


@dataclass(frozen=True, slots=True)
class Account:
    """A user that no other program on this machine has; the descriptor keeps it so while it is open."""

    uid: int
    descriptor: int


@contextmanager
def lent_account(first: int, count: int) -> Generator[Account]:
    """Lend a user to a program.

    What is to outlive this process and may still execute something as that user has to inherit the
    descriptor: the user is free again when nobody has it open any more.

    Raises:
        PlatformError: all are taken, or root has no directory of its own to note that in.
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
    """A directory that is nobody's but root's, and the same for all workers of this machine."""
    for parent in (Path("/run"), Path(tempfile.gettempdir())):
        directory = parent / LOCKS
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            found = directory.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return directory
    raise PlatformError("There is no directory in which to note which users programs have.")


def give(account: Account, place: Path) -> None:
    """Make a directory with all that is in it an account's own."""
    for directory, _, files in os.walk(place):
        for path in (directory, *(os.path.join(directory, name) for name in files)):  # noqa: PTH118  # many
            os.chown(path, account.uid, account.uid, follow_symlinks=False)
        for name in os.listdir(directory):  # noqa: PTH208  # also links to directories, which a walk leaves out
            os.chown(os.path.join(directory, name), account.uid, account.uid, follow_symlinks=False)  # noqa: PTH118


def end_user(uid: int) -> None:
    """Kill all that a user executes, and remove what it has left where anybody may; it takes root."""
    subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-I", "-S", warden_file, "empty", str(uid)],
        env={},
        check=False,
        timeout=2 * EMPTYING,
    )
