"""Runs of all organizations, for operators: the newest first, with filters, or one with its history.

No index orders the runs of all organizations by time. So the head of each organization's list is read from
its index, and the heads are merged: what is read grows with the organizations, not with the runs. An index by
reason leads to all reasons but Completed.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    desc,
    func,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session

from shared.errors import NotFoundError, RunNotFoundError
from shared.events.log import is_of
from shared.lifecycle import Reason, RunKind, RunStatus
from shared.models import Assistant, Organization, Run, RunEvent, Structure
from shared.rows.paging import Position, follows
from shared.runs.lists import reason_of_run

MAX_MESSAGE: Final = 500
"""Characters of a reason's message that are shown."""

MAX_EVENTS: Final = 20
"""Events of a run that are shown: its last ones."""

_NEWEST_FIRST: Final = (True, True)

_Keys = CompoundSelect[uuid.UUID, Any]


class SubjectNotFoundError(NotFoundError):
    """There is no such assistant or structure."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list; an absent field matches every run."""

    limit: int
    statuses: frozenset[RunStatus] = frozenset()
    organization_id: uuid.UUID | None = None
    subject_id: uuid.UUID | None = None  # an assistant or a structure
    reason: Reason | None = None
    newer_than: timedelta | None = None  # since its creation
    older_than: timedelta | None = None
    after: uuid.UUID | None = None  # the last run of the part before


@dataclass(frozen=True, slots=True)
class RunPart:
    """A part of a list."""

    rows: list[dict[str, Any]]
    has_more: bool


def list_runs(session: Session, query: RunQuery) -> RunPart:
    """Return the newest matching runs of all organizations, or those that follow `query.after`.

    Raises:
        SubjectNotFoundError: there is no assistant or structure of this id.
        shared.errors.RunNotFoundError: there is no run `query.after`.
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL failed.
    """
    keys = keys_of(session, query)
    ids = session.scalars(keys).all()
    rows = {row["run_id"]: row for row in _rows(session, ids[: query.limit])}
    return RunPart([rows[one] for one in ids[: query.limit] if one in rows], len(ids) > query.limit)


def keys_of(session: Session, query: RunQuery) -> _Keys:
    """Return the statement for the ids of a part, and one more.

    Raises:
        SubjectNotFoundError, shared.errors.RunNotFoundError: as `list_runs`.
    """
    conditions = _conditions(session, query)
    owner = query.organization_id
    if query.subject_id is not None:
        found = _owner_of(session, query.subject_id)
        if owner not in {None, found}:
            raise SubjectNotFoundError(query.subject_id)
        owner = found
    heads = _heads(query, conditions, owner)
    return union_all(*heads).order_by(desc("created_at"), desc("id")).limit(query.limit + 1)


def _heads(
    query: RunQuery, conditions: Sequence[ColumnElement[bool]], owner: uuid.UUID | None
) -> Iterator[Select[uuid.UUID, Any]]:
    """The heads of the lists that an index orders: by kind or subject and by status, or by reason."""
    kinds: list[ColumnElement[bool]] = [Run.assistant_id.is_not(None), Run.structure_id.is_not(None)]
    wanted = query.statuses
    if query.reason is Reason.COMPLETED:
        wanted = wanted or frozenset({RunStatus.SUCCEEDED})  # no other run has it, and most of these do
    elif query.reason is not None and not wanted:
        kinds = [true()]
    if query.subject_id is not None:
        kinds = [Run.subject_id == query.subject_id]
    statuses: list[RunStatus | None] = [*sorted(wanted)] or [None]
    for kind in kinds:
        for status in statuses:
            own = [kind, *conditions] if status is None else [kind, Run.status == status, *conditions]
            head = (
                select(Run.id.label("id"), Run.created_at.label("created_at"))
                .where(Run.organization_id == Organization.id, *own)
                .order_by(Run.created_at.desc(), Run.id.desc())
                .limit(query.limit + 1)
                .lateral()
            )
            heads = select(head.c.id, head.c.created_at).select_from(Organization).join(head, true())
            yield heads if owner is None else heads.where(Organization.id == owner)


def _conditions(session: Session, query: RunQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.newer_than is not None:
        found.append(Run.created_at > func.now() - query.newer_than)
    if query.older_than is not None:
        found.append(Run.created_at < func.now() - query.older_than)
    if query.reason is not None:
        found.append(reason_of_run() == query.reason)
    if query.after is not None:
        created_at = session.scalar(select(Run.created_at).where(Run.id == query.after))
        if created_at is None:
            raise RunNotFoundError(query.after)
        position = Position(created_at, query.after)
        found.append(follows(Run.created_at, Run.id, position, descending=_NEWEST_FIRST))
    return found


def _owner_of(session: Session, subject_id: uuid.UUID) -> uuid.UUID:
    for table in (Assistant, Structure):
        found = session.scalar(select(table.organization_id).where(table.id == subject_id))
        if found is not None:
            return found
    raise SubjectNotFoundError(subject_id)


def _rows(session: Session, ids: Sequence[uuid.UUID]) -> Iterator[dict[str, Any]]:
    message = func.jsonb_extract_path_text(Run.status_detail, "message")
    rows = session.execute(
        _with_names(
            Run.id.label("run_id"),
            Run.status,
            reason_of_run().label("reason"),
            func.left(message, MAX_MESSAGE).label("message"),
            Run.structure_id,
            Run.subject_id,
            Run.organization_id,
            Run.worker,
            Run.attempt,
            Run.created_at,
            Run.started_at,
            Run.completed_at,
        ).where(Run.id.in_(ids))
    ).mappings()
    for row in rows:
        kind = RunKind.ASSISTANT if row["structure_id"] is None else RunKind.STRUCTURE
        yield {name: value for name, value in row.items() if name != "structure_id"} | {"kind": kind}


def _with_names(*columns: Any) -> Select[Any]:
    """The columns of runs, with the names of their organization and their subject."""
    subject = func.coalesce(Assistant.name, Structure.name).label("subject")
    return (
        select(*columns, Organization.name.label("organization"), subject)
        .join(Organization, Organization.id == Run.organization_id)
        .outerjoin(Assistant, Assistant.id == Run.assistant_id)
        .outerjoin(Structure, Structure.id == Run.structure_id)
    )


SHOWN: Final = (
    *("thread_id", "waits_for_thread", "parent_run_id", "deployment_id", "model", "is_external"),
    *("attempt", "losses", "dispatch_count", "worker", "process", "is_stopping", "lease_expires_at"),
    *("max_duration", "queue_ttl", "max_attempts", "event_count", "log_count", "stored_bytes"),
    *("created_at", "queued_at", "dispatched_at", "started_at", "completed_at"),
)
"""Columns of a run that `show` prints beside those of a list: no content of its caller."""


def show_run(session: Session, run_id: uuid.UUID) -> dict[str, Any]:
    """Return the facts of a run, its status detail and its last events, without its contents.

    Raises:
        shared.errors.RunNotFoundError: there is none.
        sqlalchemy.exc.SQLAlchemyError: PostgreSQL failed.
    """
    facts = next(_rows(session, [run_id]), None)
    if facts is None:
        raise RunNotFoundError(run_id)
    columns = [getattr(Run, name) for name in SHOWN]
    more = session.execute(select(*columns, Run.status_detail).where(Run.id == run_id)).mappings().one()
    events = session.execute(
        select(RunEvent.seq, RunEvent.type, RunEvent.origin, RunEvent.created_at)
        .where(is_of(run_id))
        .order_by(RunEvent.seq.desc())
        .limit(MAX_EVENTS)
    ).mappings()
    return {**facts, **more, "last_events": [dict(event) for event in events][::-1]}
