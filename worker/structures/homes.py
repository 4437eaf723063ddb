"""Homes of programs that stay: one for each organization, into which no other's program can look."""

import fcntl
import os
import stat
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from worker.executors.base import InvalidConfigurationError
from worker.structures.accounts import Account

LOCKS: Final = ".locks"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LentHome:
    """A home while a program has it; nobody else is given it as long as the descriptor is open."""

    path: Path
    descriptor: int | None = None  # None where programs share it


@dataclass(frozen=True, slots=True)
class Home:
    """The home of an organization's programs, in the directory of all homes."""

    directory: Path
    organization_id: uuid.UUID

    @contextmanager
    def lent(self, account: Account | None) -> Generator[LentHome | None]:
        """Lend the home to a program: to several at once, if they have no user ids of their own.

        A user's home is its own while it has it, and root's when it is given back: of the next who is
        given that user id, none can enter the home of another organization.

        Yields:
            The home; None if a program with another user id has it.

        Raises:
            InvalidConfigurationError: the directory cannot be used.
        """
        try:
            path = self._made(0o700 if account is None else 0o711)
            descriptor = None if account is None else self._locked()
        except OSError as error:
            raise InvalidConfigurationError(
                f"The directory of homes cannot be used (RUNYARD_STRUCTURE_HOME): {error}."
            ) from error
        if account is None:
            yield LentHome(path)
            return
        self._take_back(account.uid)
        if descriptor is None:
            log.info("home not lent: a program has it", organization_id=str(self.organization_id))
            yield None
            return
        try:
            _give(path, account.uid)
            yield LentHome(path, descriptor)
        finally:
            os.chown(path, 0, 0, follow_symlinks=False)
            os.close(descriptor)

    def _made(self, mode: int) -> Path:
        self.directory.mkdir(mode=mode, parents=True, exist_ok=True)
        found = self.directory.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(
                f"{self.directory} has to be the worker's own, and nobody else's to write to"
            )
        path = self.directory.resolve() / str(self.organization_id)
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _locked(self) -> int | None:
        """A descriptor that keeps the home from others; None if another has it."""
        locks = self.directory / LOCKS
        locks.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(locks / str(self.organization_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _take_back(self, uid: int) -> None:
        """Make root's what a worker that was killed has left to a user id."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_uid == uid:
                    os.chown(entry.path, 0, 0, follow_symlinks=False)


def _give(home: Path, uid: int) -> None:
    """Make a home with all that is in it a user's; by descriptors, so that no link leads elsewhere."""
    for _, directories, files, descriptor in os.fwalk(home, follow_symlinks=False):
        for name in (*directories, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(home, uid, uid, follow_symlinks=False)
