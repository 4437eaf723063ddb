"""Runs that this process has just stored: who follows one at once needs no look-up of it."""

import asyncio
import uuid
from typing import Final

from shared.models import Run

KNOWN_TIME: Final = 0.25  # seconds after the run was stored
MOST: Final = 64  # runs at a time; those beyond are looked up


class Newcomers:
    """The ids of new runs, each with its organization, for a moment. It belongs to one event loop.

    What is known is that the run was there a moment ago: its first event is stored, and any later one is
    found by who follows it.
    """

    def __init__(self) -> None:
        self._owners: dict[uuid.UUID, uuid.UUID] = {}

    def add(self, run: Run) -> bool:
        """Know a run of an assistant, if there is room; tell whether there is."""
        if len(self._owners) >= MOST:
            return False
        self._owners[run.id] = run.organization_id
        asyncio.get_running_loop().call_later(KNOWN_TIME, self.forget, run.id)
        return True

    def has(self, run_id: uuid.UUID, *, organization_id: uuid.UUID) -> bool:
        """Whether a run of an assistant has just been stored for an organization."""
        return self._owners.get(run_id) == organization_id

    def forget(self, run_id: uuid.UUID) -> None:
        """Know a run no longer; any thread may say so, such as one that deletes it."""
        self._owners.pop(run_id, None)
