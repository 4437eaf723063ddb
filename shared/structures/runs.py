"""Structure runs: submit one, and end one with its program or by a report."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.artifacts import why_too_large
from shared.db import Lock
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import ConflictError, ForbiddenError
from shared.keys.principal import Principal
from shared.lifecycle import TERMINAL, Reason, RunKind, RunStatus, StatusDetail
from shared.models import LIMITS, JsonObject, Run
from shared.organizations.queries import hold_organization
from shared.runs import moves, queries
from shared.structures.answers import find_answer, find_refused
from shared.structures.queries import get_structure
from shared.terms import UNBOUNDED, Terms
from shared.tracing import current_traceparent

EXTERNAL_WORKER: Final = "external"
"""The worker name of a run that its caller executes."""

EXTERNAL_LEASE: Final = timedelta(days=31)
"""Held runs have a lease, and nobody goes by this one: an external run ends by its limits."""


@dataclass(frozen=True, slots=True)
class StructureRunRequest:
    """The caller's choices for a run."""

    args: Sequence[str] = ()
    env_vars: Sequence[JsonObject] = ()  # name, value, source; before the structure's own
    is_external: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)  # by the names in `LIMITS`
    parent_run_id: uuid.UUID | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the caller's, to find the run by
    traceparent: str | None = field(default_factory=current_traceparent)  # where this was asked for
    run_id: uuid.UUID = field(default_factory=uuid.uuid4)  # of the run to come, by which it is known again


def again(run: Run, *, args: Sequence[str] | None = None) -> StructureRunRequest:
    """Ask for a run with the setup of another.

    Args:
        run: the run of a structure.
        args: other arguments; None for the same.
    """
    return StructureRunRequest(
        args=run.args if args is None else args,
        env_vars=run.env_vars or (),
        is_external=run.is_external,
        limits={name: limit for name in LIMITS if (limit := getattr(run, name)) is not None},
        metadata=run.meta,
    )


def submit(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    structure_id: uuid.UUID,
    request: StructureRunRequest,
    *,
    terms: Terms = UNBOUNDED,
) -> Run:
    """Accept a run of a structure: it is durable once this transaction commits.

    An external run is RUNNING at once, and never sent to a worker.

    Raises:
        StructureNotFoundError: there is no such structure in the principal's organization.
        InvalidRequestError: the operator's terms refuse a limit.
    """
    terms.check(principal.organization_id, request.limits)
    hold_organization(session, principal.organization_id, Lock.REFERENCE)
    structure = get_structure(
        session, structure_id, organization_id=principal.organization_id, lock=Lock.REFERENCE
    )
    run = Run(
        id=request.run_id,
        organization_id=principal.organization_id,
        structure_id=structure.id,
        parent_run_id=request.parent_run_id,
        deployment_id=structure.latest_deployment_id,
        is_external=request.is_external,
        created_by=principal.user_id,
        args=list(request.args),
        env_vars=list(request.env_vars),
        meta=dict(request.metadata),
        traceparent=request.traceparent,
        status=RunStatus.QUEUED,
        attempt=0,
        event_count=1,
        queued_at=func.now(),
        dispatched_at=func.now(),
        **terms.capped({name: request.limits.get(name, getattr(structure, name)) for name in LIMITS}),
    )
    moves.store_new_run(session, dispatcher, run, name=structure.name, dispatch=not run.is_external)
    if not run.is_external:
        return run
    moves.claim(session, dispatcher, run.id, attempt=1, worker=EXTERNAL_WORKER, lease_ttl=EXTERNAL_LEASE)
    return moves.start(session, dispatcher, run.id, attempt=1)


def submit_by_webhook(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    structure_id: uuid.UUID,
    args: Sequence[str],
    *,
    terms: Terms = UNBOUNDED,
) -> Run:
    """Accept a run of a structure with an enabled webhook; its address is enough to run it.

    Raises:
        StructureNotFoundError: there is no such structure in the principal's organization.
        ForbiddenError: its webhook is not enabled.
    """
    structure = get_structure(session, structure_id, organization_id=principal.organization_id)
    if not structure.webhook_enabled:
        raise ForbiddenError("The webhook of this structure is not enabled.")
    return submit(session, dispatcher, principal, structure_id, StructureRunRequest(args=args), terms=terms)


def judge_exit(
    session: Session, run_id: uuid.UUID, *, exit_code: int, message: str
) -> tuple[bool, StatusDetail]:
    """Return how a held run ends whose program has exited.

    It succeeds with exit code 0, unless its output was too large to be kept.

    Returns:
        Whether it succeeds, and its status detail.
    """
    refused = find_refused(session, run_id)
    if find_answer(session, run_id) is None:
        too_large = next((one.message for one in refused if one.may_hold_output), None)
    else:
        stands_in = Run.output["meta"]["reason"].astext == Reason.OUTPUT_TOO_LARGE
        too_large = why_too_large(session.scalar(select(Run.output).where(Run.id == run_id, stands_in)))
    reason = Reason.STRUCTURE_FAILED if exit_code else Reason.COMPLETED
    if too_large is not None:
        reason, message = Reason.OUTPUT_TOO_LARGE, too_large
    detail = StatusDetail(reason, message, exit_code=exit_code)
    if refused:
        detail["refused_reports"] = [one.message for one in refused]
    return reason is Reason.COMPLETED, detail


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of an external run, as its caller reports it."""

    succeeded: bool
    message: str
    output: Any = None  # an artifact; None keeps the output that its events reported
    exit_code: int | None = None
    reason: Reason | None = None  # None: the reason that follows from `succeeded`


def lock_reported(session: Session, principal: Principal, run_id: uuid.UUID) -> Run:
    """Lock a structure run before a principal reports on it.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: the key belongs to another run, or to another attempt.
    """
    run = queries.get_run(
        session, run_id, organization_id=principal.organization_id, kind=RunKind.STRUCTURE, lock=Lock.CHANGE
    )
    if principal.run is not None and principal.run != (run.id, run.attempt):
        raise ConflictError("This key is that of another run, or of an earlier attempt of this one.")
    return run


def complete(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    run_id: uuid.UUID,
    completion: Completion,
) -> Run:
    """End an external run; a run that has ended stays as it is.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: a worker executes the run, and its program's exit ends it; or as `lock_reported`.
    """
    run = lock_reported(session, principal, run_id)
    if not run.is_external:
        raise ConflictError("A worker executes this run: it ends with its program.")
    return run if run.status in TERMINAL else end_elsewhere(session, dispatcher, run, completion)


def end_elsewhere(session: Session, dispatcher: Dispatcher, run: Run, completion: Completion) -> Run:
    """End an external run. It is locked, and has not ended."""
    succeeded = completion.succeeded
    reason = completion.reason or (Reason.COMPLETED if succeeded else Reason.STRUCTURE_FAILED)
    detail = StatusDetail(reason, completion.message)
    if completion.exit_code is not None:
        detail["exit_code"] = completion.exit_code
    move = moves.succeed if succeeded else moves.fail
    return move(session, dispatcher, run.id, attempt=run.attempt, detail=detail, output=completion.output)
