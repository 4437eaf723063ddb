"""A kind of repair, done in laps: what cannot be repaired hides nothing that comes after it."""

import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from sqlalchemy.orm import Session

from shared.db import Sessions, unit_of_work

BATCH: Final = 200
"""What is repaired in one transaction, and what a round leaves undone of one kind before it does the next."""

LONGEST: Final = 30.0
"""Seconds that a round takes for one kind. What is being repaired is locked for as long at the most."""

Broken = TypeVar("Broken")


class Repair(Enum):
    """What a repair has come to."""

    DONE = auto()
    NEEDLESS = auto()  # meanwhile it is as it should be: it went with another, or somebody else was faster
    LEFT = auto()  # undone, to be found again


class Lap(Generic[Broken]):
    """One kind of repair, and the position that it has come to.

    What cannot be repaired stays, and is found again. So a round goes on until it comes to the end, has left
    `BATCH` undone or taken `LONGEST`, and the next one goes on from there: each is tried once a lap, however
    many before it fail, and a round takes no longer the more of them there are.
    """

    def __init__(
        self,
        find: Callable[..., Sequence[Broken]],
        repair: Callable[[Session, Broken], Repair],
        *,
        position_of: Callable[[Broken], object],
    ) -> None:
        """Begin before the first.

        Args:
            find: called with a session, `after` and `limit`; finds so many in the order of their positions.
            repair: repairs one in the transaction that has found it.
            position_of: the position of what was found, which a repair does not change.
        """
        self._find = find
        self._repair = repair
        self._position_of = position_of
        self._position: object = None

    def go_on(self, sessions: Sessions, beat: Callable[[], object]) -> int:
        """Repair what is found from the position on; return how many are repaired.

        Args:
            beat: called before each transaction.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away.
        """
        repaired = left = 0
        end = time.monotonic() + LONGEST
        while left < BATCH and time.monotonic() < end:
            beat()
            with unit_of_work(sessions) as session:
                found = self._find(session, after=self._position, limit=BATCH)
                positions = [self._position_of(one) for one in found]
                repairs = self._repair_until(end, session, found)
            is_last = len(repairs) == len(found) < BATCH
            self._position = None if is_last else positions[len(repairs) - 1]
            repaired += repairs.count(Repair.DONE)
            left += repairs.count(Repair.LEFT)
            if is_last:
                break
        return repaired

    def _repair_until(self, end: float, session: Session, found: Sequence[Broken]) -> list[Repair]:
        """Repair the first, and others as long as there is time."""
        repairs: list[Repair] = []
        for one in found:
            repairs.append(self._repair(session, one))
            if time.monotonic() >= end:
                break
        return repairs
