"""The only writer of a run's status. Only `shared.runs.moves` imports it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    FromClause,
    Integer,
    Text,
    Update,
    Uuid,
    and_,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from shared.errors import RunNotFoundError, TransitionRefusedError
from shared.events import log
from shared.events.log import Batch, StoredEvent
from shared.events.text import storable
from shared.fence import given_attempts, given_runs, held_by
from shared.lifecycle import ACTIVE, HELD, TRANSITIONS, RunKind, RunStatus, Trigger
from shared.models import RUNS, JsonObject, Run
from shared.runs.receipts import cancel_detail
from shared.runs.together import MOVED_COLUMNS, TOGETHER_BYTES, Cancel, Move, MovedRun
from shared.runs.transition_events import EVENTS_OF, events_of

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
) -> Applied:
    """Move a run as `trigger` demands and record the move in its log.

    The UPDATE itself checks the present status and the attempt, so of several callers racing
    for one move exactly one wins, whatever each of them had read before.

    Args:
        attempt: the attempt that moves the run, that it is to begin (CLAIM), or that is to be
            stopped, also before it began (CANCEL, BREAK). None for callers who know of no attempt.
        detail: why, as `status_detail`; absent leaves nothing behind.
        values: further columns of this move, such as `output`.

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
                "event_count": Run.event_count + _event_count(trigger),
            }
        )
        .returning(Run)
        # A Run already loaded is to have the new columns; and all it had if this move is refused.
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if attempt is not None:
        move = move.where(_fence(trigger, attempt))
    run = session.scalars(move).one_or_none()
    if run is None:
        raise _refusal(session, run_id, trigger)
    told = events_of(run, trigger)
    first_seq = run.event_count - len(told)
    events = log.insert_at(session, run_id, told, first_seq=first_seq, attempt=run.attempt)
    return Applied(run, events)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A run that was cancelled together with others. Its events are not stored yet, but numbered."""

    run: Run
    events: Batch
    first_seq: int


def cancel_together(session: Session, cancels: Sequence[Cancel]) -> list[Cancelled]:
    """Cancel several assistant runs in one statement.

    Only runs of which a cancel concerns nothing else are cancelled: those without a thread and without
    structures as tools, and of at most `TOGETHER_BYTES`. A run that is elsewhere, another organization's, or
    locked by somebody else stays as it is, and is missing in the answer: `apply` says why.
    """
    given = [
        {
            "run_id": cancel.run_id,
            "organization_id": cancel.organization_id,
            "requested_by": storable(cancel.requested_by),
        }
        for cancel in cancels
    ]
    cancelled = session.scalars(_cancel_together(), {"given": given})
    return [_cancelled(run) for run in cancelled]


@dataclass(frozen=True, slots=True)
class AppliedTogether:
    """A move of a batch that happened. Its events are not stored yet; numbers are reserved for them."""

    stages: list[MovedRun]  # the run after each of its moves
    batches: list[tuple[Batch, int]]  # each with its first number


def apply_together(
    session: Session,
    triggers: tuple[Trigger, ...],
    moves: Sequence[Move],
    *,
    lease_ttl: timedelta | None = None,
) -> list[AppliedTogether]:
    """Make the same moves with several runs in one statement, each under the fence of `apply`.

    A run that is elsewhere, another attempt's, or locked by somebody else stays as it is, and is missing in
    the answer: `apply` says why.

    Args:
        triggers: the moves that every run makes, one after the other, such as CLAIM and START.
        moves: of another run each.
        lease_ttl: the length of the lease that a CLAIM takes.
    """
    given = [
        {
            "run_id": move.run_id,
            "attempt": move.attempt,
            "detail": storable(move.detail),
            "output": storable(move.output),
            "usage": storable(move.usage),
            "worker": move.worker,
            "process": move.process,
            "lease": lease_ttl.total_seconds() if lease_ttl else None,
            "count": len(move.leading.rows) if move.leading else 0,
            "size": move.leading.size if move.leading else 0,
        }
        for move in moves
    ]
    rows = session.connection().execute(_update_together(triggers), {"given": given})
    moved = {run.id: run for run in map(MovedRun._make, rows)}
    return [_applied(moved[move.run_id], triggers, move) for move in moves if move.run_id in moved]


def _cancelled(run: Run) -> Cancelled:
    told = Batch(run.id, run.attempt, events_of(run, Trigger.CANCEL))
    return Cancelled(run, told, run.event_count - len(told.rows))


@cache
def _cancel_together() -> ReturningUpdate[Run]:
    """The statement of `cancel_together`; its text is the same for any number of runs."""

    def concerns_nothing_else(given: FromClause) -> ColumnElement[bool]:
        return and_(
            Run.organization_id == given.c.organization_id,
            Run.status.in_(ACTIVE),
            Run.structure_id.is_(None),
            Run.thread_id.is_(None),
            func.cardinality(Run.structure_ids) == 0,
            Run.stored_bytes <= TOGETHER_BYTES,
        )

    given = given_runs(
        Column("organization_id", Uuid), Column("requested_by", Text), where=concerns_nothing_else
    ).c
    return (
        update(Run)
        .where(Run.id == given.run_id, Run.status.in_(TRANSITIONS[Trigger.CANCEL]))
        .values(
            {
                **_columns(Trigger.CANCEL),
                "status": RunStatus.CANCELLED,
                "status_detail": cancel_detail(requested_by=given.requested_by),
                "event_count": Run.event_count + _event_count(Trigger.CANCEL),
            }
        )
        .returning(Run)
        .execution_options(populate_existing=True, synchronize_session=False)
    )


def _applied(run: MovedRun, triggers: tuple[Trigger, ...], move: Move) -> AppliedTogether:
    statuses = [run.status]
    for trigger in reversed(triggers[1:]):
        (before,) = (old for old, new in TRANSITIONS[trigger].items() if new is statuses[0])
        statuses.insert(0, before)
    stages = [run._replace(status=status) for status in statuses]
    told = [
        event for stage, trigger in zip(stages, triggers, strict=True) for event in events_of(stage, trigger)
    ]
    first_seq = run.event_count - len(told)
    batches = [(Batch(run.id, run.attempt, told), first_seq)]
    if move.leading:
        batches.insert(0, (move.leading, first_seq - len(move.leading.rows)))
    return AppliedTogether(stages, batches)


@cache
def _update_together(triggers: tuple[Trigger, ...]) -> Update:
    """The statement of `apply_together`; its text is the same for any number of runs."""
    given = given_attempts(
        Column("detail", JSONB),
        Column("output", JSONB),
        Column("usage", JSONB),
        Column("worker", Text),
        Column("process", Text),
        Column("lease", Float),
        Column("count", Integer),
        Column("size", BigInteger),
    ).c
    first, *rest = triggers
    ends = dict(TRANSITIONS[first])
    for trigger in rest:
        ends = {start: TRANSITIONS[trigger][end] for start, end in ends.items()}
    values: dict[str, Any] = {
        "usage": func.coalesce(given.usage, Run.usage),
        "output": func.coalesce(given.output, Run.output),
        "stored_bytes": Run.stored_bytes + given.size,
    }
    if Trigger.CLAIM in triggers:
        values |= {
            "worker": given.worker,
            "process": given.process,
            "lease_expires_at": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, given.lease),
        }
    for trigger in triggers:
        values |= _columns(trigger)
    return (
        update(RUNS)
        .where(RUNS.c.id == given.run_id, Run.status.in_(ends), _fence(first, given.attempt))
        .values(
            {
                **values,
                "status": case(*((Run.status == old, new) for old, new in ends.items())),
                "status_detail": given.detail,
                "event_count": Run.event_count + given["count"] + sum(map(_event_count, triggers)),
            }
        )
        .returning(*MOVED_COLUMNS)
    )


def _event_count(trigger: Trigger) -> ColumnElement[int]:
    """How many events a transition has, as SQL: only the UPDATE knows the kind of the run."""
    counts = {kind: len(EVENTS_OF[kind][trigger]) for kind in RunKind}
    is_structure = Run.structure_id.isnot(None)
    return case((is_structure, counts[RunKind.STRUCTURE]), else_=counts[RunKind.ASSISTANT])


def _fence(trigger: Trigger, attempt: int | ColumnElement[int]) -> ColumnElement[bool]:
    is_next = and_(Run.status == RunStatus.QUEUED, Run.attempt == attempt - 1)
    match trigger:
        case Trigger.CLAIM:
            return and_(is_next, ~Run.waits_for_thread)
        case Trigger.CANCEL | Trigger.BREAK:  # a requeued run is no longer the attempt's before
            return or_(is_next, held_by(attempt))
        case _:
            return held_by(attempt)


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
