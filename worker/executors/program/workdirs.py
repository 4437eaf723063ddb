"""The directories of programs. Each lives no longer than the process that executes its program."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from shared.processes.owned_directories import OwnedDirectory, remove_orphans
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
        owned.let_go()


def remove_left_workdirs() -> None:
    """Remove the directories of workers that were killed before a shim could watch over them."""
    remove_orphans(_parent(), PREFIX, remove=remove)


def _parent() -> Path:
    return Path(tempfile.gettempdir())
