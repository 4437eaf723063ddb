"""Queries for runs whose event log violates a rule."""

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, select

from cli.doctor.rule import Rows
from shared.lifecycle import LAST_TYPES, TERMINAL, EventType
from shared.models import Origin, Run, RunEvent

_IS_END: Final = and_(RunEvent.type.in_(LAST_TYPES), RunEvent.origin == Origin.SYSTEM)
_IS_ANSWER: Final = and_(RunEvent.type == EventType.FINISH, RunEvent.origin == Origin.ASSISTANT)


def not_dense() -> Rows:
    """Runs whose events are not numbered from 0 to `event_count` - 1 without holes."""
    log = (
        select(
            RunEvent.run_id,
            func.count().label("events"),
            func.min(RunEvent.seq).label("first"),
            func.max(RunEvent.seq).label("last"),
        )
        .group_by(RunEvent.run_id)
        .subquery()
    )
    is_dense = and_(
        log.c.events == Run.event_count,
        log.c.first == 0,
        log.c.last == Run.event_count - 1,
    )
    return (
        select(
            Run.id.label("run_id"),
            func.coalesce(log.c.events, 0).label("events"),
            log.c.first,
            log.c.last,
            Run.event_count,
        )
        .outerjoin(log, log.c.run_id == Run.id)
        .where(is_dense.isnot(True))
    )


def not_one_end() -> Rows:
    """Ended runs without exactly one terminal event."""
    return _not_one(_IS_END)


def not_one_answer() -> Rows:
    """Ended assistant runs without exactly one event with the answer, or with the reason for its absence."""
    return _not_one(_IS_ANSWER).where(Run.assistant_id.isnot(None))


def _not_one(kind: ColumnElement[bool]) -> Rows:
    found = (
        select(RunEvent.run_id, func.count().label("events")).where(kind).group_by(RunEvent.run_id).subquery()
    )
    events: ColumnElement[int] = func.coalesce(found.c.events, 0)
    return (
        select(Run.id.label("run_id"), Run.status, events.label("events"))
        .outerjoin(found, found.c.run_id == Run.id)
        .where(Run.status.in_(TERMINAL), events != 1)
    )


def end_is_not_last() -> Rows:
    """Ended runs with events after the terminal event."""
    last_end = func.max(RunEvent.seq)
    return (
        _ends(last_end.label("seq"), Run.event_count)
        .where(Run.status.in_(TERMINAL))
        .group_by(Run.id)
        .having(last_end != Run.event_count - 1)
    )


def end_tells_otherwise() -> Rows:
    """Ended runs whose terminal event names another status."""
    told = func.jsonb_extract_path_text(RunEvent.payload, "status")
    return _ends(Run.status, told.label("told")).where(
        Run.status.in_(TERMINAL), told.is_distinct_from(Run.status)
    )


def end_before_its_time() -> Rows:
    """Unfinished runs with a terminal event."""
    return _ends(Run.status, RunEvent.seq).where(Run.status.notin_(TERMINAL))


def _ends(*columns: Any) -> Rows:
    """Terminal events, each with its run."""
    return select(Run.id.label("run_id"), *columns).join(RunEvent, RunEvent.run_id == Run.id).where(_IS_END)
