"""What can hold programs where the tests are executed."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest

from shared.settings import Settings
from shared.structures.sandbox import Choice, Mode, choose
from worker.structures.holding import Holder

UIDS: Final = 50


@lru_cache
def chosen(mode: str) -> Choice:
    """What comes of asking for a mode on this machine."""
    return choose(Settings(database_url="postgresql://", redis_url="redis://", structure_sandbox=mode))


def sandbox_here() -> str:
    """The sandbox_here mode that works here: `none` where no other does."""
    found = chosen("auto").sandbox
    return Mode.NONE if found is None else found.mode


def holder(mode: str, *, memory: int = 1 << 28, paths: tuple[Path, ...] = ()) -> Holder:
    """What holds programs in a mode; the test is skipped where it cannot work, with the reason."""
    choice = chosen(mode)
    if choice.sandbox is None:
        pytest.skip(choice.why_not)
    return Holder(choice.sandbox, first_uid=60_700, uids=UIDS, memory=memory, paths=paths)
