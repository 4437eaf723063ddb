"""Cancel and delete runs, of either kind."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import delete as sql_delete
from sqlalchemy import or_
from sqlalchemy.orm import Session

from shared.db import Lock, Sessions, unit_of_work
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import RunNotFoundError, TransitionRefusedError
from shared.keys.principal import Principal
from shared.lifecycle import ACTIVE, RunKind, RunStatus
from shared.models import Assistant, Run, Structure
from shared.runs import moves, queries
from shared.runs.together import Cancel

CANCEL_BATCH: Final = 200
"""Runs that one call cancels at the most, so that it is answered within seconds."""


def cancel(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    run_id: uuid.UUID,
    *,
    kind: RunKind = RunKind.ASSISTANT,
) -> Run:
    """End a run for a caller, and stop its work once that is committed.

    Returns:
        The run: CANCELLED, or unchanged if it had already ended.

    Raises:
        RunNotFoundError: there is no such run of that kind in the principal's organization.
    """
    owner = principal.organization_id
    run = queries.get_run(session, run_id, organization_id=owner, kind=kind, lock=Lock.CHANGE)
    return _end(session, dispatcher, run, principal)


def cancel_together(session: Session, dispatcher: Dispatcher, cancels: Sequence[Cancel]) -> list[Run | None]:
    """End runs for callers, and stop their work once that is committed.

    Returns:
        The CANCELLED run of each cancel, in order; None where `cancel` has to find out.
    """
    cancelled = moves.cancel_together(session, dispatcher, cancels)
    runs = {(run.id, run.organization_id): run for run in cancelled}
    return [runs.get((one.run_id, one.organization_id)) for one in cancels]


def delete(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    run_id: uuid.UUID,
    *,
    kind: RunKind = RunKind.ASSISTANT,
) -> None:
    """Delete a run and the structure runs that it called, with all that is stored of them.

    Runs that have not ended are cancelled by the same transaction: readers who are there learn of the end,
    the work is stopped, and nothing that it still does is accepted.

    Raises:
        RunNotFoundError: there is no such run of that kind in the principal's organization.
    """
    owner = principal.organization_id
    run = queries.get_run(session, run_id, organization_id=owner, kind=kind, lock=Lock.REMOVAL)
    _end(session, dispatcher, run, principal)
    for child in queries.called_by(session, run.id, is_light=True, lock=Lock.REMOVAL):
        _end(session, dispatcher, child, principal)
    session.execute(
        sql_delete(Run).where(or_(Run.id == run_id, Run.parent_run_id == run_id)),
        execution_options={"synchronize_session": False},
    )


def _end(session: Session, dispatcher: Dispatcher, run: Run, principal: Principal) -> Run:
    """Cancel a run that is locked, unless it has ended; return it as it is then."""
    if run.status not in ACTIVE:
        return run
    return moves.cancel(session, dispatcher, run.id, requested_by=principal.name)


class GetSubject(Protocol):
    """Reads an assistant or a structure of an organization."""

    def __call__(
        self, session: Session, identifier: uuid.UUID, /, *, organization_id: uuid.UUID
    ) -> Assistant | Structure: ...


@dataclass(frozen=True, slots=True)
class CancelledRuns:
    """What a cancel of many did."""

    run_ids: Sequence[uuid.UUID]
    remaining: int  # that matched, too, and were left for another call


def cancel_many(
    sessions: Sessions,
    dispatcher: Dispatcher,
    principal: Principal,
    subject_id: uuid.UUID,
    *,
    get_subject: GetSubject,
    statuses: frozenset[RunStatus] = ACTIVE,
    limit: int = CANCEL_BATCH,
) -> CancelledRuns:
    """End the runs of an assistant or a structure, at most `limit`, each in a transaction of its own.

    So no two locks are held at once, and a cancelled run stays so if the rest fails. The newest are
    cancelled first: a run that waits for its thread is not sent to a worker just before its cancel.

    Args:
        get_subject: `get_assistant` or `get_structure`; it raises if there is no such one.

    Raises:
        AssistantNotFoundError, StructureNotFoundError: the principal's organization has no such one.
    """
    with unit_of_work(sessions) as session:
        get_subject(session, subject_id, organization_id=principal.organization_id)
        found, total = queries.active_of(
            session,
            subject_id,
            organization_id=principal.organization_id,
            statuses=statuses,
            limit=limit,
        )
    cancelled = []
    for run_id in found:
        with unit_of_work(sessions) as session:
            try:
                moves.cancel(session, dispatcher, run_id, requested_by=principal.name)
            except (TransitionRefusedError, RunNotFoundError):  # it has ended meanwhile, or was deleted
                continue
            cancelled.append(run_id)
    return CancelledRuns(cancelled, max(0, total - len(found)))
