"""What can be asked of assistant runs, and of every run: submit one, cancel one."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import func
from sqlalchemy.orm import Session

from shared.artifacts import encode_artifact, text_artifact
from shared.assistants import queries as assistants
from shared.assistants.resources import check_resources
from shared.db import Lock, Sessions, unit_of_work
from shared.dispatch import Dispatcher
from shared.errors import ThreadNotFoundError
from shared.keys.principal import Principal
from shared.models import LIMITS, RESOURCE_LISTS, Assistant, JsonObject, Run
from shared.organizations.queries import hold_organization
from shared.runs import admission, queries, transitions
from shared.runs.acceptance import accept
from shared.runs.effects import cancel_by, follow
from shared.runs.lifecycle import ACTIVE, Reason, RunKind, RunStatus, Trigger
from shared.structures import queries as structures
from shared.terms import UNBOUNDED, Terms
from shared.threads import service as threads

CANCEL_BATCH: Final = 200
"""Runs that one call cancels at the most, so that it is answered within seconds."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a caller asks for; a list that is absent is the assistant's, an empty one is empty."""

    input: str | None = None
    args: Sequence[str] = ()
    stream: bool = False
    model: str | None = None
    thread_id: uuid.UUID | None = None
    new_thread: bool = False
    replace: Mapping[str, Sequence[uuid.UUID]] = field(default_factory=dict)
    add: Mapping[str, Sequence[uuid.UUID]] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)  # by the names in `LIMITS`
    llm_params: JsonObject | None = None
    guardrails: JsonObject | None = None
    additional_parameters: JsonObject | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the caller's, to find it by

    def resources(self, assistant: Assistant) -> dict[str, list[uuid.UUID]]:
        """The effective lists: the request's own or the assistant's, then the additional ones."""
        return {
            name: list(
                dict.fromkeys(
                    [
                        *self.replace.get(name, getattr(assistant, name)),
                        *self.add.get(name, ()),
                    ]
                )
            )
            for name in RESOURCE_LISTS
        }

    def effective_limits(self, assistant: Assistant) -> dict[str, Any]:
        """The request's own limits, else the assistant's; None leaves one to the settings."""
        return {name: self.limits.get(name, getattr(assistant, name)) for name in LIMITS}


@dataclass(frozen=True, slots=True)
class Success:
    """The answer of a run, and what it answers."""

    prompt: str
    output: JsonObject  # an artifact
    usage: JsonObject | None
    detail: Mapping[str, Any] = field(default_factory=dict)  # what else there is to say


def submit(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    assistant_id: uuid.UUID,
    request: RunRequest,
    *,
    terms: Terms = UNBOUNDED,
) -> Run:
    """Accept a run: it is durable once this transaction commits, then it is sent to the workers.

    The run keeps the assistant's input and model of this moment, so that a later change of the
    assistant does not reach a run that was accepted before it. While an earlier run of its thread has
    not ended, it is accepted all the same, and sent when its turn comes.

    Raises:
        AssistantNotFoundError: there is no such assistant in the principal's organization.
        ThreadNotFoundError: there is no such thread there.
        InvalidRequestError: a resource it names does not exist there; or the operator's terms refuse a
            limit, or the model, be it the assistant's.
    """
    hold_organization(session, principal.organization_id, Lock.REFERENCE)
    assistant = assistants.get_assistant(
        session, assistant_id, organization_id=principal.organization_id, lock=Lock.REFERENCE
    )
    model = request.model or assistant.model
    terms.check(principal.organization_id, {"model": model, **request.limits})
    resources = request.resources(assistant)
    check_resources(session, principal, {**request.replace, **_additional(request)})
    thread_id = _thread_of(session, principal, request)
    waits = thread_id is not None and admission.is_busy(session, thread_id)
    run = Run(
        id=uuid.uuid4(),
        organization_id=principal.organization_id,
        assistant_id=assistant.id,
        created_by=principal.user_id,
        thread_id=thread_id,
        waits_for_thread=waits,
        input=assistant.input if request.input is None else request.input,
        args=list(request.args),
        stream=request.stream,
        model=model,
        llm_params=request.llm_params,
        guardrails=request.guardrails,
        additional_parameters=request.additional_parameters,
        meta=dict(request.metadata),
        status=RunStatus.QUEUED,
        status_detail=admission.waiting_detail(thread_id) if waits and thread_id else None,
        attempt=0,
        event_count=1,
        queued_at=func.now(),
        dispatched_at=func.now(),
        **resources,
        **terms.capped(request.effective_limits(assistant)),
    )
    accept(session, dispatcher, run, name=assistant.name, is_sent=not waits)
    return run


def _additional(request: RunRequest) -> dict[str, Sequence[uuid.UUID]]:
    return {f"additional_{name}": ids for name, ids in request.add.items()}


def _thread_of(session: Session, principal: Principal, request: RunRequest) -> uuid.UUID | None:
    """The thread a run is to be on, locked: the one that is named, or a new one, or none."""
    if request.thread_id is None:
        if not request.new_thread:
            return None
        return threads.create(session, principal, {"name": uuid.uuid4().hex}).id
    is_there = admission.lock_thread(session, request.thread_id, organization_id=principal.organization_id)
    if not is_there:
        raise ThreadNotFoundError(request.thread_id)
    return request.thread_id


def succeed(
    session: Session,
    dispatcher: Dispatcher,
    run_id: uuid.UUID,
    success: Success,
    *,
    attempt: int,
) -> Run:
    """End a run with its answer; on a thread, the exchange is appended in the same transaction.

    Raises:
        TransitionRefusedError: the run has ended, or is another attempt's; nothing was written.
    """
    applied = transitions.apply(
        session,
        run_id,
        Trigger.SUCCEED,
        attempt=attempt,
        detail={"reason": Reason.COMPLETED, "message": "The assistant answered.", **success.detail},
        values={"output": success.output, "usage": success.usage},
    )
    run = applied.run
    if run.thread_id is not None:
        exchange = threads.NewMessage(
            input=encode_artifact(text_artifact(success.prompt)),
            output=encode_artifact(success.output),
            meta={"run_id": run.id.hex},
        )
        threads.append(session, run.thread_id, exchange, created_by=run.created_by)
    follow(session, dispatcher, applied)
    return run


def cancel(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    run_id: uuid.UUID,
    *,
    kind: RunKind = RunKind.ASSISTANT,
) -> Run:
    """End a run at a caller's wish, and stop its work once that is committed.

    Returns:
        The run: CANCELLED, or unchanged if it had already ended.

    Raises:
        RunNotFoundError: there is no such run of that kind in the principal's organization.
    """
    run = queries.get_run(session, run_id, organization_id=principal.organization_id, kind=kind)
    return cancel_by(session, dispatcher, run.id, requested_by=principal.name) or run


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
    kind: RunKind = RunKind.ASSISTANT,
    statuses: frozenset[RunStatus] = ACTIVE,
    limit: int = CANCEL_BATCH,
) -> CancelledRuns:
    """End the runs of an assistant or a structure, `limit` at the most, each in a transaction of its own.

    So no two locks are held at once, and what was cancelled stays so if the rest fails. The newest go
    first: those that wait for a thread are not sent to a worker only to be cancelled there.

    Raises:
        AssistantNotFoundError, StructureNotFoundError: the principal's organization has no such one.
    """
    get_subject = assistants.get_assistant if kind is RunKind.ASSISTANT else structures.get_structure
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
            if cancel_by(session, dispatcher, run_id, requested_by=principal.name):
                cancelled.append(run_id)
    return CancelledRuns(cancelled, max(0, total - len(found)))
