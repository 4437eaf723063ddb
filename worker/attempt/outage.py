"""Outages of PostgreSQL: a unit of work is repeated until PostgreSQL has done it."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay
from tenacity.wait import wait_random_exponential

from shared.db import is_passing, words_of

T = TypeVar("T")

log = structlog.get_logger(__name__)


def persistently(work: Callable[[], T], *, grace: timedelta) -> T:
    """Do `work`, one whole transaction, until PostgreSQL has done it.

    It is repeated while PostgreSQL is away or refuses, and after a lost race (`shared.db.is_passing`).

    A commit whose answer got lost took effect, and `work` is repeated all the same. So `work` must be
    conditional, and must recognise its own traces.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL did not do it within `grace`, or the error is lasting.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_passing),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(grace),
        before_sleep=_say,
        reraise=True,
    )
    return retrying(work)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    cause = "" if error is None else words_of(error)
    log.warning("database away, trying again", attempt_number=state.attempt_number, error=cause)
