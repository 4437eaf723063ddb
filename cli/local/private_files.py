"""Private files: only the current user can read and write them."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from shared.errors import RunyardError

OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
OTHERS_AT_ALL: Final = stat.S_IRWXG | stat.S_IRWXO


class NotOursError(RunyardError):
    """Another user may have written a file that is to be trusted."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is not used: {why}.")


class UnwritableError(RunyardError):
    """The user cannot write to a data directory."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The user {os.geteuid()} cannot write to {path.absolute()} ({why}):"
            " name another directory with --data-dir, or give this one to the user."
        )


def write_private(path: Path, content: bytes) -> None:
    """Write a file (0600) atomically, over an existing one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def make_private_directory(path: Path) -> Path:
    """Create a directory (0700) with its parents; an existing one keeps its mode.

    Raises:
        UnwritableError: the user cannot create it, or cannot write to it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise UnwritableError(path, error.strerror or "it cannot be created") from error
    if not is_writable:
        raise UnwritableError(path, "it exists, but is not writable")
    return path


def scratch_directory(preferred: Path) -> Path:
    """Return a directory for temporary files: the preferred one, else that of the system."""
    try:
        return make_private_directory(preferred)
    except UnwritableError:
        return Path(tempfile.gettempdir())


def demand_own_directory(path: Path) -> None:
    """Check that the user owns a directory, and that no other user can write to it.

    Raises:
        FileNotFoundError: the directory does not exist.
        NotOursError: another user owns it or can write to it.
    """
    state = path.stat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise NotOursError(path, "it is not a directory of yours")
    if state.st_mode & OTHERS_WRITE:
        raise NotOursError(path, "others can write to it (chmod go-w)")


def read_private(path: Path) -> bytes:
    """Read a file that only this user can have written or read.

    Raises:
        FileNotFoundError: the file or its directory does not exist.
        NotOursError: the file is another user's, a link, or open to other users.
    """
    demand_own_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:  # a symbolic link, or no right to read
        raise NotOursError(path, "it is not a plain file of yours") from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            raise NotOursError(path, "it is not a plain file of yours")
        if state.st_mode & OTHERS_AT_ALL:
            raise NotOursError(path, "others can read or write it (chmod 600)")
        return file.read()
