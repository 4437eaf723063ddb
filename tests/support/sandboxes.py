"""What can hold programs where the tests are executed."""

import fcntl
import itertools
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest

from shared.settings import Settings
from shared.structures.sandbox import Choice, Mode, choose
from worker.executors.program.holding import Holder

UIDS: Final = 50
FIRST_UID: Final = 61_100  # above the default range, which the workers of a stack use


@lru_cache
def chosen(mode: str) -> Choice:
    """What comes of asking for a mode on this machine."""
    return choose(Settings(database_url="postgresql://", redis_url="redis://", structure_sandbox=mode))


def sandbox_here() -> str:
    """The sandbox_here mode that works here: `none` where no other does."""
    found = chosen("auto").sandbox
    return Mode.NONE if found is None else found.mode


def claim_uids() -> int:
    """Claim `UIDS` user ids until this process ends; return the first. No other test process has them."""
    for first in itertools.count(FIRST_UID, UIDS):
        lock = Path(tempfile.gettempdir()) / f"runyard-test-uids-{os.geteuid()}-{first}"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        break  # with the lock open
    return first


@lru_cache
def own_uids() -> int:
    """The first of the user ids that the tests of this process use."""
    return claim_uids()


def holder(mode: str, *, memory: int = 1 << 28, paths: tuple[Path, ...] = ()) -> Holder:
    """What holds programs in a mode; the test is skipped where it cannot work, with the reason."""
    choice = chosen(mode)
    if choice.sandbox is None:
        pytest.skip(choice.why_not)
    return Holder(choice.sandbox, first_uid=own_uids(), uids=UIDS, memory=memory, paths=paths)
