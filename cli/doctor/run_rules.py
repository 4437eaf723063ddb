"""Queries for runs, messages and tallies that contradict each other."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Uuid, and_, case, cast, func, null, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from cli.doctor.rule import Rows
from shared.lifecycle import HELD, TERMINAL, RunStatus
from shared.models import Message, Run, RunTally


def completed_at_wrong() -> Rows:
    """Ended runs without `completed_at`, and unfinished runs with it."""
    return select(Run.id.label("run_id"), Run.status, Run.completed_at).where(
        Run.status.in_(TERMINAL) != Run.completed_at.isnot(None)
    )


def not_alone_on_thread() -> Rows:
    """Threads with several executing runs, by the oldest of these runs."""
    oldest = func.array_agg(aggregate_order_by(Run.id, Run.created_at, Run.id))[1]
    return (
        select(oldest.label("run_id"), Run.thread_id, (func.count() - 1).label("others"))
        .where(Run.thread_id.isnot(None), Run.status.in_(HELD))
        .group_by(Run.thread_id)
        .having(func.count() > 1)
    )


def message_without_success() -> Rows:
    """Runs with a message on their thread although they did not succeed, or with two.

    A missing message is no violation: callers may delete and replace the messages of a thread.
    """
    told = func.jsonb_extract_path_text(Message.meta, "run_id")
    # As a UUID, so that the primary key finds the runs however many are on the thread.
    run_id = cast(case((told.regexp_match("^[0-9a-f]{32}$"), told)), Uuid)
    exchanges = (
        select(Message.thread_id, run_id.label("run_id"), func.count().label("messages"))
        .group_by(Message.thread_id, run_id)
        .subquery()
    )
    return (
        select(Run.id.label("run_id"), Run.status, Run.thread_id, exchanges.c.messages)
        .join(exchanges, and_(exchanges.c.run_id == Run.id, exchanges.c.thread_id == Run.thread_id))
        .where(or_(Run.status != RunStatus.SUCCEEDED, exchanges.c.messages > 1))
    )


def tally_is_off() -> Rows:
    """Assistants and structures whose tally of a status differs from the number of their runs in it."""
    counted, tallied = _COUNTED.c.runs, _TALLIED.c.runs
    return _tallies(counted, tallied).where(func.coalesce(counted, 0) != func.coalesce(tallied, 0))


def tallied_bytes_are_off() -> Rows:
    """The same for the bytes of these runs, where their number is right."""
    counted, tallied = _COUNTED.c.bytes, _TALLIED.c.bytes
    return _tallies(counted, tallied).where(_COUNTED.c.runs == _TALLIED.c.runs, counted != tallied)


_COUNTED: Final = (
    select(Run.subject_id, Run.status, func.count().label("runs"), func.sum(Run.stored_bytes).label("bytes"))
    .where(Run.status.in_(TERMINAL))
    .group_by(Run.subject_id, Run.status)
    .subquery()
)
_TALLIED: Final = (
    select(
        RunTally.subject_id,
        RunTally.status,
        func.sum(RunTally.runs).label("runs"),
        func.sum(RunTally.bytes).label("bytes"),
    )
    .group_by(RunTally.subject_id, RunTally.status)
    .subquery()
)


def _tallies(counted: ColumnElement[Any], tallied: ColumnElement[Any]) -> Rows:
    """What is counted beside what is tallied, of each assistant or structure and status."""
    same = and_(_COUNTED.c.subject_id == _TALLIED.c.subject_id, _COUNTED.c.status == _TALLIED.c.status)
    return select(
        null().label("run_id"),
        func.coalesce(_COUNTED.c.subject_id, _TALLIED.c.subject_id).label("subject_id"),
        func.coalesce(_COUNTED.c.status, _TALLIED.c.status).label("status"),
        func.coalesce(counted, 0).label("counted"),
        func.coalesce(tallied, 0).label("tallied"),
    ).select_from(_COUNTED.join(_TALLIED, same, full=True))


def receipt_incomplete() -> Rows:
    """Cancelled runs without requester and time, or, after their work has stopped, without its end."""
    requested_at, requested_by, stopped_at, stopped_how = (
        func.jsonb_extract_path_text(Run.status_detail, key)
        for key in ("requested_at", "requested_by", "stopped_at", "stopped_how")
    )
    is_stopped = and_(stopped_at.isnot(None), stopped_how.isnot(None))
    return select(
        Run.id.label("run_id"),
        requested_at.label("requested_at"),
        stopped_at.label("stopped_at"),
        stopped_how.label("stopped_how"),
    ).where(
        Run.status == RunStatus.CANCELLED,
        or_(requested_at.is_(None), requested_by.is_(None), is_stopped == Run.is_stopping),
    )
