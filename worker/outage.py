"""Living through a PostgreSQL that is away: the same transaction, again and again, for a while."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from shared.db import OUTAGE_ERRORS

T = TypeVar("T")

log = structlog.get_logger(__name__)


def persistently(work: Callable[[], T], *, grace: timedelta) -> T:
    """Do `work`, one whole unit of work, until PostgreSQL has answered.

    It may be done twice: a commit whose answer got lost did go through. So `work` must be
    conditional, and must recognise its own traces.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL was away for longer than `grace`.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(OUTAGE_ERRORS),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(grace),
        before_sleep=_say,
        reraise=True,
    )
    return retrying(work)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    cause = getattr(error, "__cause__", None) or error
    log.warning("database away, trying again", attempt_number=state.attempt_number, error=str(cause))
