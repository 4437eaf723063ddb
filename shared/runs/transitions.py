"""The only writer of a run's status."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, update
from sqlalchemy.orm import Session

from shared.errors import RunNotFoundError, TransitionRefusedError
from shared.events import log
from shared.events.log import StoredEvent
from shared.events.text import storable
from shared.models import JsonObject, Run
from shared.runs.lifecycle import (
    HELD,
    TRANSITIONS,
    Reason,
    RunKind,
    RunStatus,
    StoppedHow,
    Trigger,
)
from shared.runs.narration import NARRATION

Detail = JsonObject | ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Applied:
    """A move that happened: the run after it, and what the log says of it."""

    run: Run
    events: list[StoredEvent]


def apply(
    session: Session,
    run_id: uuid.UUID,
    trigger: Trigger,
    *,
    attempt: int | None = None,
    detail: Detail | None = None,
    values: Mapping[str, Any] | None = None,
    only_if: ColumnElement[bool] | None = None,
) -> Applied:
    """Move a run as `trigger` demands and record the move in its log.

    The UPDATE itself checks the present status and the attempt, so of several callers racing
    for one move exactly one wins, whatever each of them had read before.

    Args:
        attempt: the attempt that moves the run, that it is to begin (CLAIM), or that is to be
            stopped, also before it began (CANCEL). None for callers who know of no attempt.
        detail: why, as `status_detail`; absent leaves nothing behind.
        values: further columns of this move, such as `output`.
        only_if: a further condition on the row, such as a lapsed lease.

    Raises:
        RunNotFoundError: there is no such run.
        TransitionRefusedError: the run is elsewhere, or another attempt's; nothing was written.
    """
    moves = TRANSITIONS[trigger]
    move = (
        update(Run)
        .where(Run.id == run_id, Run.status.in_(moves))
        .values(
            {
                **_columns(trigger),
                **{name: storable(value) for name, value in (values or {}).items()},
                "status": case(*((Run.status == old, new) for old, new in moves.items())),
                "status_detail": detail if isinstance(detail, ColumnElement) else storable(detail),
                "event_count": Run.event_count + _narrated(trigger),
            }
        )
        .returning(Run)
        .execution_options(populate_existing=True)  # a Run already loaded would keep stale columns
    )
    if attempt is not None:
        move = move.where(_fence(trigger, attempt))
    if only_if is not None:
        move = move.where(only_if)
    run = session.scalars(move).one_or_none()
    if run is None:
        raise _refusal(session, run_id, trigger)
    narrators = NARRATION[run.kind][trigger]
    events = log.insert_at(
        session,
        run_id,
        [narrate(run) for narrate in narrators],
        first_seq=run.event_count - len(narrators),
        attempt=run.attempt,
    )
    return Applied(run, events)


def _narrated(trigger: Trigger) -> ColumnElement[int]:
    """How many events a transition is told in; the kind of the run is known to the UPDATE alone."""
    counts = {kind: len(NARRATION[kind][trigger]) for kind in RunKind}
    is_structure = Run.structure_id.isnot(None)
    return case((is_structure, counts[RunKind.STRUCTURE]), else_=counts[RunKind.ASSISTANT])


def _fence(trigger: Trigger, attempt: int) -> ColumnElement[bool]:
    is_next = and_(Run.status == RunStatus.QUEUED, Run.attempt == attempt - 1)
    match trigger:
        case Trigger.CLAIM:
            return and_(is_next, ~Run.waits_for_thread)
        case Trigger.CANCEL:
            return or_(is_next, and_(Run.status.in_(HELD), Run.attempt == attempt))
        case _:
            return Run.attempt == attempt


def _columns(trigger: Trigger) -> dict[str, Any]:
    """The columns that follow from what happens, on the database's clock."""
    match trigger:
        case Trigger.CLAIM:
            return {"attempt": Run.attempt + 1}
        case Trigger.START:
            return {"started_at": func.now()}
        case Trigger.REQUEUE:
            return {
                "worker": None,
                "lease_expires_at": None,
                "started_at": None,
                "queued_at": func.now(),
                "dispatched_at": func.now(),
                "dispatch_count": 0,
                "output": None,  # what an attempt that is given up may have said
                "output_at": None,
            }
        case Trigger.CANCEL:  # the lease stays until the work is known to have stopped
            return {"completed_at": func.now(), "is_stopping": Run.status.in_(HELD)}
        case Trigger.SUCCEED | Trigger.FAIL | Trigger.BREAK:
            return {"completed_at": func.now(), "lease_expires_at": None}


def _refusal(session: Session, run_id: uuid.UUID, trigger: Trigger) -> Exception:
    row = session.execute(select(Run.status, Run.attempt).where(Run.id == run_id)).one_or_none()
    if row is None:
        return RunNotFoundError(run_id)
    return TransitionRefusedError(status=row.status, attempt=row.attempt, trigger=trigger)


def claim(
    session: Session,
    run_id: uuid.UUID,
    *,
    attempt: int,
    worker: str,
    process: str | None = None,
    lease_ttl: timedelta,
) -> Applied:
    """Take a QUEUED run for `attempt`, under a lease.

    Args:
        process: of the worker's, where it is (`shared.beats.this_process`).

    Raises:
        RunNotFoundError, TransitionRefusedError: as `apply`.
    """
    return apply(
        session,
        run_id,
        Trigger.CLAIM,
        attempt=attempt,
        values={"worker": worker, "process": process, "lease_expires_at": func.now() + lease_ttl},
    )


def cancel_detail(*, requested_by: str) -> ColumnElement[Any]:
    """The receipt of a cancel, as SQL: what it says depends on the status the UPDATE finds."""
    now = func.to_char(func.timezone("UTC", func.now()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    receipt = func.jsonb_build_object(
        "reason",
        Reason.CANCELLED.value,
        "message",
        f"The run was cancelled by {requested_by}.",
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


def record_stop(
    session: Session,
    run_id: uuid.UUID,
    how: StoppedHow,
    *,
    attempt: int,
    usage: JsonObject | None = None,
) -> bool:
    """Complete the receipt of a cancelled run: how and when its work stopped, and its usage.

    No status, no event: the run ended when it was cancelled.

    Returns:
        Whether this call completed it; False if it was complete, or the run another attempt's.
    """
    now = func.to_char(func.timezone("UTC", func.clock_timestamp()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    complete = (
        update(Run)
        .where(
            Run.id == run_id,
            Run.attempt == attempt,
            Run.is_stopping,
        )
        .values(
            is_stopping=False,
            lease_expires_at=None,
            usage=literal(usage, Run.usage.type),
            status_detail=Run.status_detail.op("||")(
                func.jsonb_build_object("stopped_at", now, "stopped_how", how.value)
            ),
        )
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(complete) is not None
