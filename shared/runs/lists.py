"""Lists of runs: of one assistant or structure, or of all, in parts, with filters.

With every filter, an index leads to a part, and only the rows of the part are read.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Text,
    UnaryExpression,
    asc,
    desc,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.lifecycle import TERMINAL, Reason, RunKind, RunStatus
from shared.models import Assistant, Run, RunMetadata, RunTally, Structure
from shared.rows.metadata import holds
from shared.rows.paging import Page, Part, Position, follows
from shared.rows.sizes import without_large

TOOK_TOO_LONG: Final = frozenset({Reason.EXPIRED, Reason.TIMED_OUT})
"""The reasons of an ERROR that took too long."""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A filter of runs; an absent field matches every run."""

    statuses: frozenset[RunStatus] | None = None
    is_expired: bool | None = None  # of runs in ERROR, whether they took too long
    thread_id: uuid.UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    kinds: frozenset[RunKind] = frozenset()  # each has to be the list's own
    metadata: Mapping[str, str] = field(default_factory=dict)  # all of it
    reason: str | None = None  # of the status
    ids: tuple[uuid.UUID, uuid.UUID] | None = None  # the least and the greatest

    @property
    def is_by_status(self) -> bool:
        """Whether only statuses matter: then the number of runs is known without counting."""
        others = (
            self.is_expired,
            self.thread_id,
            self.created_after,
            self.created_before,
            self.reason,
            self.ids,
        )
        return not self.metadata and all(one is None for one in others)


EVERY: Final = RunFilter()


@dataclass(frozen=True, slots=True)
class RunList:
    """The runs of an organization that are of one kind, or of one assistant or structure."""

    organization_id: uuid.UUID
    kind: RunKind = RunKind.ASSISTANT
    subject_id: uuid.UUID | None = None
    is_oldest_first: bool = False

    @property
    def descending(self) -> tuple[bool, bool]:
        """Whether the list descends by time, and then by id: as its index does."""
        return (False, False) if self.is_oldest_first else (True, self.subject_id is None)

    def conditions(self) -> list[ColumnElement[bool]]:
        owned = Run.organization_id == self.organization_id
        if self.subject_id is not None:
            return [owned, Run.subject_id == self.subject_id]
        return [owned, _OWNER[self.kind].is_not(None)]

    def tallied(self) -> list[ColumnElement[bool]]:
        """The conditions of the list, for the tallies of ended runs."""
        owned = RunTally.organization_id == self.organization_id
        if self.subject_id is not None:
            return [owned, RunTally.subject_id == self.subject_id]
        subject = Assistant if self.kind is RunKind.ASSISTANT else Structure
        of_all = select(subject.id).where(subject.organization_id == self.organization_id)
        return [owned, RunTally.subject_id.in_(of_all)]


_OWNER: Final[Mapping[RunKind, InstrumentedAttribute[Any]]] = {
    RunKind.ASSISTANT: Run.assistant_id,
    RunKind.STRUCTURE: Run.structure_id,
}


def page(
    session: Session, listed: RunList, part: Part, wanted: RunFilter = EVERY, *, is_light: bool = False
) -> Page[Run]:
    """Return a part of a list.

    A part with an offset is counted from the nearer end.

    Args:
        is_light: leave large values unloaded.
    """
    if not wanted.kinds <= {listed.kind} or wanted.statuses == frozenset():
        return Page([], None if part.is_walk else 0, has_more=False)
    descending = listed.descending
    if part.is_walk:
        walked = positions(session, listed, part, wanted)
        rows = _rows(session, listed, [one.id for one in walked.rows], is_light=is_light)
        return Page(rows, None, has_more=walked.has_more)
    total = _total(session, listed, wanted)
    size = min(part.limit, total - part.offset)
    if size <= 0:
        return Page([], total, has_more=False)
    behind = total - part.offset - size
    is_near = part.offset <= behind
    order = descending if is_near else (not descending[0], not descending[1])
    ids = session.scalars(_ids(listed, wanted, order, skipped=min(part.offset, behind), size=size)).all()
    rows = _rows(session, listed, ids if is_near else ids[::-1], is_light=is_light)
    return Page(rows, total, has_more=behind > 0)


def positions(session: Session, listed: RunList, part: Part, wanted: RunFilter = EVERY) -> Page[Position]:
    """Return the ids and instants of a walk's part, without a look at the runs themselves."""
    if not wanted.kinds <= {listed.kind} or wanted.statuses == frozenset():
        return Page([], None, has_more=False)
    query = _ids(listed, wanted, listed.descending, skipped=0, size=part.limit + 1, after=part.after)
    found = [Position(created_at, run_id) for run_id, created_at in session.execute(query)]
    return Page(found[: part.limit], None, has_more=len(found) > part.limit)


def count(session: Session, listed: RunList, wanted: RunFilter = EVERY, *, most: int) -> int:
    """Count the runs of a list that match, up to `most`."""
    if not wanted.kinds <= {listed.kind} or wanted.statuses == frozenset():
        return 0
    found = _keys(listed, wanted, wanted.statuses).limit(most).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def _rows(session: Session, listed: RunList, ids: Sequence[uuid.UUID], *, is_light: bool) -> Sequence[Run]:
    """The runs, in the order of their ids."""
    query = (
        select(Run)
        .options(*without_large(Run, when=is_light))
        .where(Run.organization_id == listed.organization_id, Run.id.in_(ids))
    )
    found = {run.id: run for run in session.scalars(query)}
    return [found[run_id] for run_id in ids if run_id in found]


def _total(session: Session, listed: RunList, wanted: RunFilter) -> int:
    """The number of runs: of ended ones by their tallies, if only their status matters."""
    if not wanted.is_by_status:
        counted = select(func.count()).select_from(_keys(listed, wanted, wanted.statuses).subquery())
        return session.scalar(counted) or 0
    statuses = frozenset(RunStatus) if wanted.statuses is None else wanted.statuses
    ended = select(func.sum(RunTally.runs)).where(*listed.tallied(), RunTally.status.in_(statuses & TERMINAL))
    others = select(func.count(Run.id)).where(*listed.conditions(), Run.status.in_(statuses - TERMINAL))
    # In one statement: a run that ends meanwhile is counted once.
    both = func.coalesce(ended.scalar_subquery(), 0) + others.scalar_subquery()
    return int(session.scalar(select(both)) or 0)


_Keys = Select[uuid.UUID, datetime]


def _ids(
    listed: RunList,
    wanted: RunFilter,
    descending: tuple[bool, bool],
    *,
    skipped: int,
    size: int,
    after: Position | None = None,
) -> _Keys | CompoundSelect[uuid.UUID, datetime]:
    """The ids of a part; with several statuses, the heads of their lists are merged."""
    by_time, by_id = descending
    order: tuple[UnaryExpression[Any], UnaryExpression[Any]] = (
        desc("created_at") if by_time else asc("created_at"),
        desc("id") if by_id else asc("id"),
    )
    apart: list[frozenset[RunStatus] | None] = [wanted.statuses]
    if wanted.statuses is not None and wanted.thread_id is None and not wanted.metadata:
        # Read one by one: the index orders each status, not all together. The runs of a thread, or with
        # metadata, are ordered by another index, whatever their status.
        apart = [frozenset({status}) for status in sorted(wanted.statuses)]
    lists = [_keys(listed, wanted, statuses, after=after, descending=descending) for statuses in apart]
    if len(lists) == 1:
        return lists[0].order_by(*order).offset(skipped).limit(size)
    heads = (one.order_by(*order).limit(skipped + size) for one in lists)
    return union_all(*heads).order_by(*order).offset(skipped).limit(size)


def _keys(
    listed: RunList,
    wanted: RunFilter,
    statuses: frozenset[RunStatus] | None,
    *,
    after: Position | None = None,
    descending: tuple[bool, bool] = (True, True),
) -> _Keys:
    """The ids and instants of the matching runs, unordered.

    With metadata, they are read by its first pair; the table of runs is read only if the filter needs it.
    """
    of_runs = _of_runs(wanted, statuses)
    if wanted.metadata:
        created_at, identifier = RunMetadata.created_at, RunMetadata.run_id
        conditions = [*_holds(listed, wanted.metadata), *of_runs]
        if of_runs:
            conditions.append(RunMetadata.run_id == Run.id)
    else:
        created_at, identifier = Run.created_at, Run.id
        conditions = [*listed.conditions(), *of_runs]
    if wanted.created_after is not None:
        conditions.append(created_at > wanted.created_after)
    if wanted.created_before is not None:
        conditions.append(created_at < wanted.created_before)
    if after is not None:
        conditions.append(follows(created_at, identifier, after, descending=descending))
    return select(identifier.label("id"), created_at.label("created_at")).where(*conditions)


def _of_runs(wanted: RunFilter, statuses: frozenset[RunStatus] | None) -> list[ColumnElement[bool]]:
    """The conditions on the table of runs, except those on time."""
    conditions: list[ColumnElement[bool]] = []
    if statuses is not None:
        is_one = len(statuses) == 1
        conditions.append(Run.status == next(iter(statuses)) if is_one else Run.status.in_(statuses))
    if wanted.is_expired is not None:
        took_too_long = func.coalesce(Run.status_detail["reason"].astext, "").in_(TOOK_TOO_LONG)
        conditions.append(or_(Run.status != RunStatus.ERROR, took_too_long == wanted.is_expired))
    if wanted.thread_id is not None:
        conditions.append(Run.thread_id == wanted.thread_id)
    if wanted.reason is not None:
        conditions.append(reason_of_run() == wanted.reason)
    if wanted.ids is not None:
        conditions.append(Run.id.between(*wanted.ids))
    return conditions


def reason_of_run() -> ColumnElement[str]:
    """The reason of the status of a row of `runs`, as SQL: as its index has it."""
    return Run.status_detail.op("->>", return_type=Text)(literal_column("'reason'"))


def _holds(listed: RunList, pairs: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """The condition that a run of the list has some metadata."""
    of_list = (
        RunMetadata.kind == listed.kind
        if listed.subject_id is None
        else RunMetadata.subject_id == listed.subject_id
    )
    return [*holds(RunMetadata, listed.organization_id, pairs), of_list]
