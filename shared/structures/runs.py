"""What can be asked of structure runs, beyond what can be asked of every run."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db import Lock
from shared.dispatch import Dispatcher
from shared.errors import ConflictError, ForbiddenError
from shared.keys.principal import Principal
from shared.models import LIMITS, JsonObject, Run
from shared.organizations.queries import hold_organization
from shared.runs import queries, transitions
from shared.runs.acceptance import accept
from shared.runs.effects import follow
from shared.runs.lifecycle import TERMINAL, Reason, RunKind, RunStatus, Trigger
from shared.structures.answers import RefusedReport, find_answer, find_refused
from shared.structures.outputs import why_too_large
from shared.structures.queries import get_structure
from shared.terms import UNBOUNDED, Terms

EXTERNAL_WORKER: Final = "external"
"""Who holds a run that its caller executes."""

EXTERNAL_LEASE: Final = timedelta(days=31)
"""Longer than any run may be RUNNING: a limit ends it, never a lease."""


@dataclass(frozen=True, slots=True)
class StructureRunRequest:
    """What a caller asks for."""

    args: Sequence[str] = ()
    env_vars: Sequence[JsonObject] = ()  # name, value, source; before the structure's own
    is_external: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)  # by the names in `LIMITS`
    parent_run_id: uuid.UUID | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the caller's, to find it by


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

    One that is external is RUNNING at once, and never sent to a worker.

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
        id=uuid.uuid4(),
        organization_id=principal.organization_id,
        structure_id=structure.id,
        parent_run_id=request.parent_run_id,
        deployment_id=structure.latest_deployment_id,
        is_external=request.is_external,
        created_by=principal.user_id,
        args=list(request.args),
        env_vars=list(request.env_vars),
        meta=dict(request.metadata),
        status=RunStatus.QUEUED,
        attempt=0,
        event_count=1,
        queued_at=func.now(),
        dispatched_at=func.now(),
        **terms.capped({name: request.limits.get(name, getattr(structure, name)) for name in LIMITS}),
    )
    accept(session, dispatcher, run, name=structure.name, is_sent=not run.is_external)
    return _begun_elsewhere(session, dispatcher, run) if run.is_external else run


def submit_by_webhook(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    structure_id: uuid.UUID,
    args: Sequence[str],
    *,
    terms: Terms = UNBOUNDED,
) -> Run:
    """Accept a run of a structure that may be run by whoever knows the address of its webhook.

    Raises:
        StructureNotFoundError: there is no such structure in the principal's organization.
        ForbiddenError: its webhook is not enabled.
    """
    structure = get_structure(session, structure_id, organization_id=principal.organization_id)
    if not structure.webhook_enabled:
        raise ForbiddenError("The webhook of this structure is not enabled.")
    return submit(session, dispatcher, principal, structure_id, StructureRunRequest(args=args), terms=terms)


def _begun_elsewhere(session: Session, dispatcher: Dispatcher, run: Run) -> Run:
    claimed = transitions.claim(session, run.id, attempt=1, worker=EXTERNAL_WORKER, lease_ttl=EXTERNAL_LEASE)
    follow(session, dispatcher, claimed)
    started = transitions.apply(session, run.id, Trigger.START, attempt=1)
    follow(session, dispatcher, started)
    return started.run


def end_of_program(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    *,
    exit_code: int,
    message: str,
    attempt: int,
) -> bool:
    """End a run with the exit of its program: SUCCEEDED with 0, FAILED with any other code.

    It is FAILED, too, if its output was too large to be kept, whatever the program made of that.

    Raises:
        TransitionRefusedError: the run has ended, or is another attempt's; nothing was written.

    Returns:
        Whether it has succeeded.
    """
    detail: JsonObject = {
        "reason": Reason.STRUCTURE_FAILED if exit_code else Reason.COMPLETED,
        "message": message,
        "exit_code": exit_code,
    }
    refused = find_refused(session, run_id)
    if refused:
        detail["refused_reports"] = [one.message for one in refused]
    too_large = _why_output_is_too_large(session, run_id, refused)
    if too_large is not None:
        detail |= {"reason": Reason.OUTPUT_TOO_LARGE, "message": too_large}
    succeeds = exit_code == 0 and too_large is None
    trigger = Trigger.SUCCEED if succeeds else Trigger.FAIL
    applied = transitions.apply(session, run_id, trigger, attempt=attempt, detail=detail)
    follow(session, dispatcher, applied)
    return succeeds


def _why_output_is_too_large(
    session: Session, run_id: uuid.UUID, refused: Sequence[RefusedReport]
) -> str | None:
    """Why a held run's output is not there; None if it is, or if there was none."""
    if find_answer(session, run_id) is None:
        return next((one.message for one in refused if one.may_hold_output), None)
    stands_in = Run.output["meta"]["reason"].astext == Reason.OUTPUT_TOO_LARGE
    return why_too_large(session.scalar(select(Run.output).where(Run.id == run_id, stands_in)))


@dataclass(frozen=True, slots=True)
class Completion:
    """How a run that is executed elsewhere has ended, in its caller's words."""

    succeeded: bool
    message: str
    output: Any = None  # an artifact; None leaves what its events said
    exit_code: int | None = None
    reason: Reason | None = None  # if it is not what follows from its success


def lock_reported(session: Session, principal: Principal, run_id: uuid.UUID) -> Run:
    """Lock a structure run of which a principal has something to report.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: the key is that of another run, or of another attempt.
    """
    run = queries.get_run(
        session, run_id, organization_id=principal.organization_id, kind=RunKind.STRUCTURE, lock=True
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
    """End a run that is executed elsewhere; one that has ended stays as it is.

    Raises:
        RunNotFoundError: there is no such structure run in the principal's organization.
        ConflictError: a worker executes it, whose program's exit ends it; or as `lock_reported`.
    """
    run = lock_reported(session, principal, run_id)
    if not run.is_external:
        raise ConflictError("A worker executes this run: it ends with its program.")
    return run if run.status in TERMINAL else end_elsewhere(session, dispatcher, run, completion)


def end_elsewhere(session: Session, dispatcher: Dispatcher, run: Run, completion: Completion) -> Run:
    """End an external run that is locked and has not ended."""
    detail: JsonObject = {
        "reason": completion.reason
        or (Reason.COMPLETED if completion.succeeded else Reason.STRUCTURE_FAILED),
        "message": completion.message,
    }
    if completion.exit_code is not None:
        detail["exit_code"] = completion.exit_code
    values = {} if completion.output is None else {"output": completion.output}
    applied = transitions.apply(
        session,
        run.id,
        Trigger.SUCCEED if completion.succeeded else Trigger.FAIL,
        attempt=run.attempt,
        detail=detail,
        values=values,
    )
    follow(session, dispatcher, applied)
    return applied.run
