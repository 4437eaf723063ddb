"""What can be asked of runs: submit one, cancel one."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func
from sqlalchemy.orm import Session

from shared.assistants import queries as assistants
from shared.dispatch import Dispatcher
from shared.errors import TransitionRefusedError
from shared.events import log
from shared.keys.principal import Principal
from shared.models import RESOURCE_LISTS, Assistant, Run
from shared.runs import queries, transitions
from shared.runs.effects import follow
from shared.runs.lifecycle import RunStatus, Trigger
from shared.runs.narration import queued


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a caller asks for; a list that is absent is the assistant's, an empty one is empty."""

    input: str | None = None
    args: Sequence[str] = ()
    stream: bool = False
    model: str | None = None
    replace: Mapping[str, Sequence[uuid.UUID]] = field(default_factory=dict)
    add: Mapping[str, Sequence[uuid.UUID]] = field(default_factory=dict)

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


def submit(
    session: Session,
    dispatcher: Dispatcher,
    principal: Principal,
    assistant_id: uuid.UUID,
    request: RunRequest,
) -> Run:
    """Accept a run: it is durable once this transaction commits, then it is sent to the workers.

    The run keeps the assistant's input and model of this moment, so that a later change of the
    assistant does not reach a run that was accepted before it.

    Raises:
        AssistantNotFoundError: there is no such assistant in the principal's organization.
    """
    assistant = assistants.get_assistant(session, assistant_id, organization_id=principal.organization_id)
    run = Run(
        id=uuid.uuid4(),
        organization_id=principal.organization_id,
        assistant_id=assistant.id,
        created_by=principal.user_id,
        input=assistant.input if request.input is None else request.input,
        args=list(request.args),
        stream=request.stream,
        model=request.model or assistant.model,
        status=RunStatus.QUEUED,
        attempt=0,
        event_count=1,
        queued_at=func.now(),
        dispatched_at=func.now(),
        **request.resources(assistant),
    )
    session.add(run)
    session.flush()
    events = log.insert_at(session, run.id, [queued(run)], first_seq=0)
    dispatcher.announce(session, events)
    dispatcher.enqueue(session, run.id, attempt=1)
    return run


def cancel(session: Session, dispatcher: Dispatcher, principal: Principal, run_id: uuid.UUID) -> Run:
    """End a run at a caller's wish, and stop its work once that is committed.

    Returns:
        The run: CANCELLED, or unchanged if it had already ended.

    Raises:
        RunNotFoundError: there is no such run in the principal's organization.
    """
    run = queries.get_run(session, run_id, organization_id=principal.organization_id)
    return cancel_by(session, dispatcher, run.id, requested_by=principal.name) or run


def cancel_by(
    session: Session, dispatcher: Dispatcher, run_id: uuid.UUID, *, requested_by: str
) -> Run | None:
    """End a run on behalf of `requested_by`, of whatever organization, and stop its work.

    Returns:
        The CANCELLED run, or None if it had already ended.
    """
    detail = transitions.cancel_detail(requested_by=requested_by)
    try:
        applied = transitions.apply(session, run_id, Trigger.CANCEL, detail=detail)
    except TransitionRefusedError:
        return None
    run = applied.run
    follow(session, dispatcher, applied)
    dispatcher.revoke(session, run.id, attempt=run.attempt if run.is_stopping else run.attempt + 1)
    return run
