"""Submit runs of an assistant."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from shared.assistants import queries as assistants
from shared.assistants.resources import check_resources
from shared.db import Lock
from shared.dispatch.dispatcher import Dispatcher
from shared.errors import ThreadNotFoundError
from shared.keys.principal import Principal
from shared.lifecycle import RunStatus
from shared.models import LIMITS, RESOURCE_LISTS, Assistant, JsonObject, Run
from shared.organizations.queries import hold_organization
from shared.runs import moves
from shared.terms import UNBOUNDED, Terms
from shared.threads import service as threads
from shared.threads import turns
from shared.tracing import current_traceparent


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
    traceparent: str | None = field(default_factory=current_traceparent)  # where this was asked for

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


def again(run: Run, *, input_text: str | None = None) -> RunRequest:
    """Ask for a run with the setup of another, on the same thread.

    Args:
        run: the run of an assistant.
        input_text: another input; None for the same.
    """
    return RunRequest(
        input=run.input if input_text is None else input_text,
        args=run.args,
        stream=run.stream,
        model=run.model,
        thread_id=run.thread_id,
        replace={name: getattr(run, name) for name in RESOURCE_LISTS},
        limits={name: limit for name in LIMITS if (limit := getattr(run, name)) is not None},
        llm_params=run.llm_params,
        guardrails=run.guardrails,
        additional_parameters=run.additional_parameters,
        metadata=run.meta,
    )


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
    check_terms(principal, assistant, request, terms)
    additional = {f"additional_{name}": ids for name, ids in request.add.items()}
    check_resources(session, principal, {**request.replace, **additional})
    thread_id = _thread_of(session, principal, request)
    waits = thread_id is not None and turns.is_busy(session, thread_id)
    run = new_run(principal, assistant, request, terms=terms, thread_id=thread_id, waits=waits)
    moves.store_new_run(session, dispatcher, run, name=assistant.name, dispatch=not waits)
    return run


def check_terms(principal: Principal, assistant: Assistant, request: RunRequest, terms: Terms) -> None:
    """Check the model and the limits of a run against the operator's terms.

    Raises:
        InvalidRequestError: the terms refuse one of them.
    """
    terms.check(principal.organization_id, {"model": request.model or assistant.model, **request.limits})


def new_run(
    principal: Principal,
    assistant: Assistant,
    request: RunRequest,
    *,
    terms: Terms,
    thread_id: uuid.UUID | None = None,
    waits: bool = False,
) -> Run:
    """Make a QUEUED run, which nothing has stored yet.

    Args:
        waits: an earlier run has the thread.
    """
    return Run(
        id=uuid.uuid4(),
        organization_id=principal.organization_id,
        assistant_id=assistant.id,
        created_by=principal.user_id,
        thread_id=thread_id,
        waits_for_thread=waits,
        input=assistant.input if request.input is None else request.input,
        args=list(request.args),
        stream=request.stream,
        model=request.model or assistant.model,
        llm_params=request.llm_params,
        guardrails=request.guardrails,
        additional_parameters=request.additional_parameters,
        meta=dict(request.metadata),
        traceparent=request.traceparent,
        status=RunStatus.QUEUED,
        status_detail=turns.waiting_detail(thread_id) if waits and thread_id else None,
        attempt=0,
        event_count=1,
        queued_at=func.now(),
        dispatched_at=func.now(),
        **request.resources(assistant),
        **terms.capped(request.effective_limits(assistant)),
    )


def _thread_of(session: Session, principal: Principal, request: RunRequest) -> uuid.UUID | None:
    """The thread a run is to be on, locked: the one that is named, or a new one, or none."""
    if request.thread_id is None:
        if not request.new_thread:
            return None
        return threads.create(session, principal, {"name": uuid.uuid4().hex}).id
    is_there = turns.lock_thread(session, request.thread_id, organization_id=principal.organization_id)
    if not is_there:
        raise ThreadNotFoundError(request.thread_id)
    return request.thread_id
