"""A lock file: one process at a time uses a directory."""

import fcntl
import os
from pathlib import Path

from shared.errors import RunyardError


class DirectoryInUseError(RunyardError):
    """Another process uses this directory."""

    def __init__(self, directory: Path, holder: str) -> None:
        super().__init__(f"{directory} is in use by process {holder or 'unknown'}.")
        self.directory = directory
        self.holder = holder


class DirectoryLock:
    """A lock file. The kernel releases the lock when the process ends, however it ends."""

    def __init__(self, directory: Path, name: str = "lock") -> None:
        self._directory = directory
        self._path = directory / name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DirectoryInUseError: another process holds it, or another lock of this process.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise DirectoryInUseError(self._directory, holder) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock. The file stays: removing it would race with the next owner."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
