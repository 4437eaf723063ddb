"""Temporary directories that have an owner. What an owner leaves that was killed, another removes."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import structlog

REMOVAL_TIME: Final = 5.0  # seconds; what is left by then is left to the next removal

log = structlog.get_logger(__name__)


class OwnedDirectory:
    """A directory of this user's alone, locked as long as its owner lives, and what it has forked.

    The lock is on the directory itself. So processes that share the directory's file system and do not see
    each other, such as those of two containers, know that it has an owner. Where a file system has no
    locks, as some of networks, there is none: then nobody removes what a killed owner leaves.
    """

    def __init__(self, path: Path, lock: int | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def make(cls, parent: Path, prefix: str) -> Self:
        """Make one.

        Raises:
            OSError: it cannot be made.
        """
        while True:
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            try:
                lock = _locked(path)
            except OSError as error:
                log.info("no locks among temporary files", directory=str(path), error=str(error))
                return cls(path, None)
            if lock is not None:
                return cls(path, lock)

    def let_go(self) -> None:
        """Own it no more. Whoever removes it does so before this, or it is an orphan."""
        if self._lock is not None:
            os.close(self._lock)


def is_own(uid: int) -> bool:
    """Whether a user is that of this process."""
    return uid == os.geteuid()


def remove_orphans(
    parent: Path,
    prefix: str,
    *,
    is_ours: Callable[[int], bool] = is_own,
    remove: Callable[[Path], object] = shutil.rmtree,
) -> None:
    """Remove directories that have no owner any more, for `REMOVAL_TIME`.

    Args:
        is_ours: whether those of a user are to be removed; by default this user's are.
        remove: removes one. If it fails, the next removal may try.
    """
    end = time.monotonic() + REMOVAL_TIME
    for path in parent.glob(f"{prefix}*"):
        if time.monotonic() > end:
            return
        try:
            with _held(path) as lock:
                if lock is not None and is_ours(os.fstat(lock).st_uid):
                    remove(path)
        except FileNotFoundError:
            continue  # somebody else was faster
        except OSError as error:
            log.warning("directory without an owner not removed", directory=str(path), error=str(error))


@contextmanager
def _held(path: Path) -> Generator[int | None]:
    try:
        lock = _locked(path)
    except PermissionError:  # it is another user's
        lock = None
    try:
        yield lock
    finally:
        if lock is not None:
            os.close(lock)


def _locked(path: Path) -> int | None:
    """Lock a directory, and return its descriptor; None if it has an owner or is gone.

    Raises:
        OSError: it cannot be opened, or its file system has no locks.
    """
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), path.lstat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass  # somebody has it, or has just removed it
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None
