"""What the tests of a lane share: made for the first that asks for it, ended after the last of the lane."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, TypeVar

import pytest

Thing = TypeVar("Thing")


class Kept:
    """Things by name, each made once until all of them are ended: what idles costs others their time."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self._things: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], AbstractContextManager[Thing]]) -> Thing:
        """Return the thing of a name, made if there is none."""
        if name not in self._things:
            self._things[name] = self._exits.enter_context(make())
        thing: Thing = self._things[name]
        return thing

    def end(self) -> None:
        """End all of them, the last first; whoever asks afterwards gets others."""
        self._things.clear()
        self._exits.close()


KEPT: Final = pytest.StashKey[Kept]()
"""Where the session has it."""
