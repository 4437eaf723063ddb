"""Files that only the user who runs us can read."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from shared.errors import RunyardError

OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
OTHERS_AT_ALL: Final = stat.S_IRWXG | stat.S_IRWXO


class NotOursError(RunyardError):
    """Others may have put there what we are to trust."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is not used: {why}.")


class UnwritableError(RunyardError):
    """A directory of ours is not for this user to write to."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path.absolute()} is needed, and the user {os.geteuid()} cannot write there ({why}):"
            " name another directory with --data-dir, or give this one to the user."
        )


def write_private(path: Path, content: bytes) -> None:
    """Put a file (0600) at a path, whole and at once, whatever was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def make_private_directory(path: Path) -> Path:
    """Make a directory (0700) with its parents; one that is there already stays as it is.

    Raises:
        UnwritableError: this user cannot make it, or cannot write to it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise UnwritableError(path, error.strerror or "it cannot be made") from error
    if not is_writable:
        raise UnwritableError(path, "it is there, and not to be written to")
    return path


def passing_directory(preferred: Path) -> Path:
    """Where to put what goes in the end: where it is preferred, or else where the system has such things."""
    try:
        return make_private_directory(preferred)
    except UnwritableError:
        return Path(tempfile.gettempdir())


def demand_own_directory(path: Path) -> None:
    """Return if only this user, who is its owner, can put anything into a directory.

    Raises:
        FileNotFoundError: it does not exist.
        NotOursError: others can.
    """
    state = path.stat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise NotOursError(path, "it is not a directory of yours")
    if state.st_mode & OTHERS_WRITE:
        raise NotOursError(path, "others can write to it (chmod go-w)")


def read_private(path: Path) -> bytes:
    """Read a file that nobody but this user can have written or read.

    Raises:
        FileNotFoundError: it, or its directory, does not exist.
        NotOursError: it is somebody else's, a link to somewhere else, or open to others.
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
