"""The directories of programs. Each lives no longer than the process that executes its program."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from shared.processes.owned_directories import OwnedDirectory, is_own, remove_orphans
from shared.settings import Settings
from shared.structures.sandbox import choose
from worker.executors.program.accounts import remove_of_user
from worker.executors.program.shim import remove

PREFIX: Final = "runyard-run-"

log = structlog.get_logger(__name__)


@contextmanager
def made_workdir() -> Generator[Path]:
    """Make the directory of a run, and remove it with all that the program has left there.

    If this process dies, the shim removes it once there is one, and a worker that starts otherwise
    (`remove_left_workdirs`).
    """
    owned = OwnedDirectory.make(_parent(), PREFIX)
    try:
        yield owned.path
    finally:
        try:
            remove(owned.path)
        except OSError as error:
            log.warning("directory of a run not removed", directory=str(owned.path), error=str(error))
        finally:
            owned.let_go()  # also if the run is interrupted: what is left is an orphan


def remove_left_workdirs(settings: Settings) -> None:
    """Remove the directories of workers that were killed before a shim could watch over them, or with it."""

    def is_ours(uid: int) -> bool:
        return is_own(uid) or _is_account(uid, settings)

    def remove_one(path: Path) -> None:
        uid = path.lstat().st_uid
        if is_own(uid):
            remove(path)
        else:
            remove_of_user(path, uid)

    try:
        parent = _parent()
    except FileNotFoundError:
        return  # there can be none
    remove_orphans(parent, PREFIX, is_ours=is_ours, remove=remove_one)


def _is_account(uid: int, settings: Settings) -> bool:
    """Whether a user is one of those that programs get."""
    if not settings.structure_uid <= uid < settings.structure_uid + settings.structure_uids:
        return False
    sandbox = choose(settings).sandbox
    return sandbox is not None and sandbox.has_accounts


def _parent() -> Path:
    """The directory of temporary files.

    Raises:
        FileNotFoundError: there is none that can be written to.
    """
    return Path(tempfile.gettempdir())
