"""User ids for programs: each program has one of its own until its last process ends."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from worker.cancellation import CancelToken
from worker.executors.base import InvalidConfigurationError, PlatformError
from worker.executors.program.shim import DIRECTORY, KILL_USER_TIMEOUT, remove
from worker.executors.program.shim import __file__ as shim_file

LOCKS: Final = "runyard-users"
WAIT_INTERVAL: Final = 0.25  # seconds between two searches for a free user id

_turn: Final = threading.Lock()
"""Of the threads of this process, the one that has it looks for a free user id."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """A user id that no other program on this machine has; the open descriptor holds its lock."""

    uid: int
    descriptor: int


@contextmanager
def lent_account(first: int, count: int, token: CancelToken) -> Generator[Account]:
    """Lend a user id to a program; while all are taken, wait for one.

    A process that may outlive this one and run as that user inherits the descriptor: the user id is free once
    no process has it open.

    Raises:
        RunStopped: the token fired before a user id was free.
        PlatformError: root has no directory of its own for the locks.
    """
    account = _wait_for_account(_own_directory(), first, count, token)
    try:
        yield account
    finally:
        os.close(account.descriptor)


def _wait_for_account(directory: Path, first: int, count: int, token: CancelToken) -> Account:
    while not _turn.acquire(timeout=WAIT_INTERVAL):
        token.raise_if_cancelled()
    try:
        has_told = False
        while (account := _free_account(directory, first, count)) is None:
            if not has_told:
                log.warning("program waits: all user ids are taken (RUNYARD_STRUCTURE_UIDS)", user_ids=count)
                has_told = True
            token.wait(WAIT_INTERVAL)
            token.raise_if_cancelled()
        return account
    finally:
        _turn.release()


def _free_account(directory: Path, first: int, count: int) -> Account | None:
    for uid in range(first, first + count):
        descriptor = os.open(directory / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return Account(uid, descriptor)
    return None


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


def remove_of_user(path: Path, uid: int) -> None:
    """Remove a directory of a program that nobody watches over any more, after the processes of its user.

    While another program has the user id, the directory is left: a living process of its owner could put
    something else there. Needs root.

    Raises:
        OSError: not all of it could be removed.
    """
    try:
        account = _free_account(_own_directory(), uid, 1)
        if account is None:
            return
        try:
            end_user(uid)
            remove(path)
        finally:
            os.close(account.descriptor)
    except (PlatformError, subprocess.TimeoutExpired) as error:
        raise OSError(str(error)) from error


def hold_entries(directory: Path) -> None:
    """Let users move only their own entries of a directory, if others may write to it.

    The temporary directory of a pod is open to all without this: one program could move the directory of
    another, and put its own there.

    Raises:
        InvalidConfigurationError: the directory does not let itself be changed.
    """
    mode = directory.stat().st_mode
    if mode & stat.S_ISVTX or not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return
    try:
        directory.chmod(stat.S_IMODE(mode) | stat.S_ISVTX)
    except OSError as error:
        raise InvalidConfigurationError(
            f"In {directory} users could move each other's directories: set its sticky bit, or a TMPDIR."
        ) from error


def give(account: Account, directory: Path) -> None:
    """Make the account the owner of a directory and its content, however deep; links are not followed.

    One directory is open at a time: a program may have nested more than files may be open.

    Raises:
        OSError: not all of it could be given.
    """
    here = os.open(directory, DIRECTORY)
    try:
        path = [_Level(os.fstat(here), _give_content(account, here))]
        while path[-1].unseen or len(path) > 1:
            name = path[-1].unseen.pop() if path[-1].unseen else None
            outer, here = here, os.open(name or os.pardir, DIRECTORY, dir_fd=here)
            os.close(outer)
            if name is not None:
                path.append(_Level(os.fstat(here), _give_content(account, here)))
                continue
            path.pop()
            if not os.path.samestat(os.fstat(here), path[-1].state):
                raise PermissionError(f"A directory in {directory} was moved while it was given.")
    finally:
        os.close(here)


@dataclass(frozen=True, slots=True)
class _Level:
    """A directory that is being given, above the one that is open."""

    state: os.stat_result
    unseen: list[str]  # directories in it


def _give_content(account: Account, directory: int) -> list[str]:
    """Give an open directory and what is in it; return the names of the directories in it."""
    os.fchown(directory, account.uid, account.uid)
    with os.scandir(directory) as entries:
        kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    for name in kinds:
        os.chown(name, account.uid, account.uid, dir_fd=directory, follow_symlinks=False)
    return [name for name, is_directory in kinds.items() if is_directory]


def end_user(uid: int) -> None:
    """Kill every process of a user, and remove what it has left in places open to all. Needs root."""
    subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-I", "-S", shim_file, "kill-user", str(uid), tempfile.gettempdir()],
        env={},
        check=False,
        timeout=2 * KILL_USER_TIMEOUT,
    )
