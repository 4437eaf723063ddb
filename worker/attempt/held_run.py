"""A held run: the writes of one attempt, fenced, and repeated through an outage of PostgreSQL."""

import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db import is_passing, unit_of_work, words_of
from shared.errors import LeaseLostError, RunNotFoundError, TransitionRefusedError
from shared.lifecycle import TRANSITIONS, Trigger
from shared.models import Run
from shared.runs import moves
from worker.attempt.outage import persistently
from worker.attempt.resources import Resources
from worker.cancellation import CancelToken, RunStopped, StopReason

T = TypeVar("T")

MOVES: Final[Mapping[Trigger, Callable[..., Run]]] = {
    Trigger.START: moves.start,
    Trigger.SUCCEED: moves.succeed,
    Trigger.FAIL: moves.fail,
    Trigger.BREAK: moves.break_,
    Trigger.REQUEUE: moves.requeue,
}
"""The moves that an attempt makes with a run it holds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run that one attempt holds, and the token that stops the attempt."""

    resources: Resources
    id: uuid.UUID
    attempt: int
    token: CancelToken

    @contextmanager
    def fenced(self) -> Generator[Session]:
        """Do a block as one transaction, once. The block uses `shared.fence` with this attempt.

        Raises:
            RunStopped: the run is no longer this attempt's; the token has fired.
            sqlalchemy.exc.SQLAlchemyError: PostgreSQL is away or refuses.
        """
        try:
            with unit_of_work(self.resources.sessions) as session:
                yield session
        except LeaseLostError as lost:
            self.token.lose(lost.status)
            raise RunStopped from lost

    def write(self, work: Callable[[Session], T]) -> T:
        """Do `work` as one transaction, as `fenced`, and repeat it while PostgreSQL is away.

        A commit whose answer got lost took effect, and `work` is repeated all the same. So `work` has to
        recognise its own traces.

        Raises:
            RunStopped: the run is no longer this attempt's, or PostgreSQL was away for longer than
                `database_outage_grace`; the token has fired.
        """

        def once() -> T:
            with self.fenced() as session:
                return work(session)

        try:
            return persistently(once, grace=self.resources.settings.database_outage_grace)
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            log.warning("write given up: the database stayed away", error=words_of(error))
            self.token.cancel(StopReason.DATABASE_LOST)
            raise RunStopped from error

    def move(self, trigger: Trigger, **options: Any) -> bool:
        """Make a move of `MOVES` with the run.

        Args:
            trigger: a key of `MOVES`.
            options: what the function of the move takes beside the run and its attempt.

        Returns:
            Whether the run has made the move; False if it has ended otherwise, was deleted, or is another
            attempt's.

        Raises:
            RunStopped: as `write`.
        """

        def work(session: Session) -> bool:
            try:
                MOVES[trigger](session, self.resources.dispatcher, self.id, attempt=self.attempt, **options)
            except TransitionRefusedError as refusal:
                # After a commit whose answer got lost, the run is where the move takes it.
                has_moved = refusal.status in TRANSITIONS[trigger].values()
                return has_moved and refusal.attempt == self.attempt
            except RunNotFoundError:  # somebody has deleted it
                return False
            return True

        return self.write(work)
