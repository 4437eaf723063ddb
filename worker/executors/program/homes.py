"""Lasting homes of programs: each organization has one, which no other's programs can read."""

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
from worker.executors.program.accounts import Account, give

LOCKS: Final = ".locks"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LentHome:
    """A home while a program has it; the open descriptor holds its lock."""

    path: Path
    descriptor: int | None = None  # None if programs share it


@dataclass(frozen=True, slots=True)
class Home:
    """The home of an organization's programs, below the directory of all homes."""

    directory: Path
    organization_id: uuid.UUID

    @contextmanager
    def lent(self, account: Account | None) -> Generator[LentHome | None]:
        """Lend the home to a program; without user ids, to several at once.

        The program's user owns the home while it is lent, root afterwards: the next program with that user id
        cannot enter the home of another organization.

        Yields:
            The home; None if a program with another user id has it.

        Raises:
            InvalidConfigurationError: the directory of homes cannot be used.
        """
        try:
            path = self._made(is_passable=account is not None)
            descriptor = None if account is None else self._locked()
        except OSError as error:
            raise InvalidConfigurationError(
                f"The directory of homes cannot be used (RUNYARD_STRUCTURE_HOME): {error}."
            ) from error
        if account is None:
            yield LentHome(path)
            return
        uid = account.uid
        with os.scandir(self.directory) as entries:
            for entry in entries:  # root takes the homes that a killed worker left to the user
                if entry.stat(follow_symlinks=False).st_uid == uid:
                    os.chown(entry.path, 0, 0, follow_symlinks=False)
        if descriptor is None:
            log.info("home not lent: a program has it", organization_id=str(self.organization_id))
            yield None
            return
        try:
            give(account, path)
            yield LentHome(path, descriptor)
        finally:
            os.chown(path, 0, 0, follow_symlinks=False)
            os.close(descriptor)

    def _made(self, *, is_passable: bool) -> Path:
        """Return the home; with `is_passable`, other users reach it through the directory of homes."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.directory.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(
                f"{self.directory} must belong to the worker, and no other user may write to it"
            )
        if is_passable and not found.st_mode & stat.S_IXOTH:
            self.directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP | stat.S_IXOTH)
        path = self.directory.resolve() / str(self.organization_id)
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _locked(self) -> int | None:
        """Return a descriptor that holds the home's lock; None if another program has it."""
        locks = self.directory / LOCKS
        locks.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(locks / str(self.organization_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor
