"""What the console does to runs: by the use cases of the API, each in a transaction of its own."""

import hashlib
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.dependencies import CancelSessionsDep, PrincipalDep, SessionsDep, terms_of, turn
from api.resources import Resources
from shared.assistants import runs as assistant_runs
from shared.assistants.runs import RunRequest
from shared.db import Sessions, unit_of_work
from shared.errors import InvalidRequestError
from shared.idempotency import service as idempotency
from shared.keys.principal import Principal
from shared.lifecycle import RunKind
from shared.models import Run
from shared.runs import queries, service
from shared.structures import runs as structure_runs
from shared.structures.queries import get_structure
from shared.structures.runs import StructureRunRequest
from shared.terms import Terms

CANCEL: Final = "cancel"
AGAIN: Final = "again"


@dataclass(frozen=True, slots=True)
class Actions:
    """The use cases, with what they need. A turn for one connection is held meanwhile."""

    sessions: Sessions
    resources: Resources
    terms: Terms

    def cancel(self, principal: Principal, run_id: uuid.UUID, kind: RunKind) -> Run:
        """Cancel a run; one that has ended stays as it is.

        Raises:
            RunNotFoundError: there is no such run of that kind.
        """
        with unit_of_work(self.sessions) as session:
            return service.cancel(session, self.resources.dispatcher, principal, run_id, kind=kind)

    def run_again(
        self,
        principal: Principal,
        run_id: uuid.UUID,
        kind: RunKind,
        *,
        input_text: str | None = None,
        args: Sequence[str] | None = None,
        once: str = "",
    ) -> uuid.UUID:
        """Submit a run with the setup of another; return the new one's id.

        Args:
            input_text: another input, of an assistant's run.
            args: other arguments, of a structure's run.
            once: a key, as of `Idempotency-Key`: what was submitted for it before is not submitted again.

        Raises:
            RunNotFoundError: there is no such run of that kind.
            AssistantNotFoundError, StructureNotFoundError, ThreadNotFoundError, InvalidRequestError,
            QueueFullError, LimitReachedError: as a create over the API.
        """
        with unit_of_work(self.sessions) as session:
            run = queries.get_run(session, run_id, organization_id=principal.organization_id, kind=kind)
        if input_text == (run.input or ""):
            input_text = None  # a form has no sign for none
        if kind is RunKind.ASSISTANT and run.assistant_id is not None:
            again = assistant_runs.again(run, input_text=input_text)
            submit = partial(self._submit, principal=principal, assistant_id=run.assistant_id, wanted=again)
        elif run.structure_id is not None:
            of_program = structure_runs.again(run, args=args)
            submit = partial(
                self._submit_structure,
                principal=principal,
                structure_id=run.structure_id,
                wanted=of_program,
            )
        else:
            raise InvalidRequestError("This run has no subject.")
        with unit_of_work(self.sessions) as session:
            return _submit_once(session, principal, once, submit) if once else submit(session).id

    def submit(self, principal: Principal, assistant_id: uuid.UUID, wanted: RunRequest) -> Run:
        """Submit a run of an assistant; it raises as a create over the API."""
        with unit_of_work(self.sessions) as session:
            return self._submit(session, principal, assistant_id, wanted)

    def submit_structure(
        self, principal: Principal, structure_id: uuid.UUID, wanted: StructureRunRequest
    ) -> Run:
        """Submit a run of a structure; it raises as a create over the API."""
        with unit_of_work(self.sessions) as session:
            return self._submit_structure(session, principal, structure_id, wanted)

    def _submit(
        self, session: Session, principal: Principal, assistant_id: uuid.UUID, wanted: RunRequest
    ) -> Run:
        resources = self.resources
        resources.quotas.require_room_for_run(session, principal.organization_id)
        return assistant_runs.submit(
            session, resources.dispatcher, principal, assistant_id, wanted, terms=self.terms
        )

    def _submit_structure(
        self, session: Session, principal: Principal, structure_id: uuid.UUID, wanted: StructureRunRequest
    ) -> Run:
        resources = self.resources
        resources.quotas.require_room_for_run(session, principal.organization_id)
        if wanted.is_external:
            resources.quotas.require_room_for_external_run(session, principal.organization_id)
        structure = get_structure(session, structure_id, organization_id=principal.organization_id)
        refusal = resources.variable_rule.first_refusal([*structure.env_vars, *wanted.env_vars])
        if refusal is not None:
            raise InvalidRequestError(f"The structure cannot run: {refusal}")
        return structure_runs.submit(
            session, resources.dispatcher, principal, structure_id, wanted, terms=self.terms
        )


def _submit_once(
    session: Session, principal: Principal, key: str, submit: Callable[[Session], Run]
) -> uuid.UUID:
    """Submit a run unless one was submitted for the key before; return its id."""
    digest = hashlib.sha256(key.encode()).digest()
    before = idempotency.claim(session, principal.organization_id, key, digest)
    if before is not None:
        return before
    made = submit(session)
    idempotency.remember(session, principal.organization_id, key, made.id)
    return made.id


async def _submits(request: Request, sessions: SessionsDep) -> Actions:
    return Actions(sessions, request.app.state.resources, terms_of(request))


async def _cancels(request: Request, sessions: CancelSessionsDep) -> Actions:
    return Actions(sessions, request.app.state.resources, terms_of(request))


async def _bulk(request: Request, principal: PrincipalDep) -> AsyncGenerator[Actions]:
    resources: Resources = request.app.state.resources
    is_cancel = request.state.form.get("action") == [CANCEL]
    lane = resources.lanes.cancels if is_cancel else resources.lanes.requests
    async with turn(lane, request, principal):
        yield Actions(resources.sessions, resources, terms_of(request))


SubmitsDep = Annotated[Actions, Depends(_submits)]
CancelsDep = Annotated[Actions, Depends(_cancels)]
"""For what ends runs: never behind what begins some."""

BulkDep = Annotated[Actions, Depends(_bulk, scope="function")]
"""For what a form does to many runs: in the lane of cancels if it cancels."""
