"""The receipt of a cancelled run: who wanted it to end, and how and when its work stopped."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Text, Update, case, func, literal, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from shared.fence import given_attempts
from shared.lifecycle import Reason, RunStatus, StoppedHow
from shared.models import RUNS, JsonObject, Run
from shared.runs.measures import measure_stop
from shared.runs.together import Stop


def cancel_detail(*, requested_by: str | ColumnElement[str]) -> ColumnElement[Any]:
    """The receipt of a cancel, as SQL: what it says depends on the status the UPDATE finds."""
    now = as_text(func.now())
    receipt = func.jsonb_build_object(
        "reason",
        Reason.CANCELLED.value,
        "message",
        func.concat("The run was cancelled by ", requested_by, "."),
        "requested_at",
        now,
        "requested_by",
        requested_by,
        type_=Run.status_detail.type,
    )
    stopped = func.jsonb_build_object("stopped_at", now, "stopped_how", StoppedHow.NEVER_STARTED.value)
    return case(
        (Run.status == RunStatus.QUEUED, receipt.op("||")(stopped)),
        else_=receipt.op("||")(func.jsonb_build_object("stopped_at", None, "stopped_how", None)),
    )


def as_text(instant: ColumnElement[datetime]) -> ColumnElement[str]:
    """An instant as RFC 3339 text, as SQL."""
    return func.to_char(func.timezone("UTC", instant), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')


SECONDS_TO_STOP: Final = func.extract("epoch", func.clock_timestamp() - Run.completed_at)


def record_stop(
    session: Session,
    run_id: uuid.UUID,
    how: StoppedHow,
    *,
    attempt: int,
    usage: JsonObject | None = None,
) -> bool:
    """Complete the receipt of a cancelled run: how and when its work stopped, and its usage.

    No move and no event: the run ended when it was cancelled.

    Returns:
        Whether this call completed it; False if it was complete, or the run another attempt's.
    """
    complete = (
        update(Run)
        .where(Run.id == run_id, Run.attempt == attempt, Run.is_stopping)
        .values(_stopped(how.value, literal(usage, Run.usage.type)))
        .returning(SECONDS_TO_STOP)
        .execution_options(synchronize_session=False)
    )
    seconds = session.scalar(complete)
    if seconds is None:
        return False
    measure_stop(session, how, float(seconds))
    return True


def record_stops(session: Session, stops: Sequence[Stop]) -> Sequence[uuid.UUID]:
    """Complete receipts as `record_stop` does, in one statement; a run that somebody has locked is left out.

    Returns:
        The runs whose receipts this call completed.
    """
    given = [
        {"run_id": stop.run_id, "attempt": stop.attempt, "how": stop.how, "usage": stop.usage}
        for stop in stops
    ]
    hows = {stop.run_id: stop.how for stop in stops}
    completed = session.connection().execute(_record_stops(), {"given": given}).all()
    for run_id, seconds in completed:
        measure_stop(session, hows[run_id], float(seconds))
    return [run_id for run_id, _ in completed]


@cache
def _record_stops() -> Update:
    """The statement of `record_stops`; its text is the same for any number of runs."""
    given = given_attempts(Column("how", Text), Column("usage", JSONB)).c
    return (
        update(RUNS)
        .where(RUNS.c.id == given.run_id, Run.attempt == given.attempt, Run.is_stopping)
        .values(_stopped(given.how, given.usage))
        .returning(RUNS.c.id, SECONDS_TO_STOP)
    )


def _stopped(how: str | ColumnElement[str], usage: ColumnElement[Any]) -> dict[str, Any]:
    """The columns of a run whose work has stopped."""
    stopped = func.jsonb_build_object("stopped_at", as_text(func.clock_timestamp()), "stopped_how", how)
    return {
        "is_stopping": False,
        "lease_expires_at": None,
        "usage": usage,
        "status_detail": Run.status_detail.op("||")(stopped),
    }
