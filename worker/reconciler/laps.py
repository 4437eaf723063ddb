"""A kind of repair, done in laps: what cannot be repaired hides nothing that comes after it."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from sqlalchemy.orm import Session

from shared.db import Sessions, unit_of_work

BATCH: Final = 200
"""What is repaired in one transaction, and what a round leaves undone of one kind before it does the next."""

Broken = TypeVar("Broken")


class Lap(Generic[Broken]):
    """One kind of repair, and the place that it has come to.

    What cannot be repaired stays, and is found again. So a round goes on until it comes to the end or has
    left `BATCH` undone, and the next one goes on from there: each is tried once a lap, however many before
    it fail, and a round takes no longer the more of them there are.
    """

    def __init__(
        self,
        find: Callable[..., Sequence[Broken]],
        repair: Callable[[Session, Broken], bool],
        *,
        place_of: Callable[[Broken], object],
    ) -> None:
        """Begin before the first.

        Args:
            find: called with a session, `after` and `limit`; finds so many in the order of their places.
            repair: repairs one in the transaction that has found it, and returns whether it did.
            place_of: the place of what was found, which a repair does not change.
        """
        self._find = find
        self._repair = repair
        self._place_of = place_of
        self._place: object = None

    def go_on(self, sessions: Sessions, beat: Callable[[], object]) -> int:
        """Repair what is found from the place on; return how many are repaired.

        Args:
            beat: called before each transaction.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away.
        """
        repaired = left = 0
        while left < BATCH:
            beat()
            with unit_of_work(sessions) as session:
                found = self._find(session, after=self._place, limit=BATCH)
                places = [self._place_of(one) for one in found]
                done = sum(self._repair(session, one) for one in found)
            is_end = len(found) < BATCH
            self._place = None if is_end else places[-1]
            repaired += done
            left += len(found) - done
            if is_end:
                break
        return repaired
