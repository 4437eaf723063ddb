"""Creation of assistant runs: together with others where possible, else in a transaction of its own."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from anyio import to_thread
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.dependencies import PrincipalDep, resources_of, terms_of, turn
from api.idempotency import IdempotencyKeyHeader, KeyedRequest, keyed_request
from api.resources import Resources
from shared.assistants.acceptance import Offer
from shared.assistants.runs import RunRequest, submit
from shared.assistants.service import default_assistant
from shared.db import unit_of_work
from shared.keys.principal import Principal
from shared.logs import note
from shared.models import Run
from shared.runs import queries
from shared.terms import Terms

LARGEST: Final = 65_536
"""Bytes of a body whose run is stored together with others."""


@dataclass(frozen=True, slots=True)
class RunCreation:
    """What the creation of a run needs."""

    request: Request
    principal: Principal
    resources: Resources
    terms: Terms
    keyed: KeyedRequest | None

    async def submit(self, assistant_id: uuid.UUID | None, wanted: RunRequest) -> Run:
        """Store a run of an assistant; without one, of the assistant named `default`.

        Raises:
            AssistantNotFoundError, ThreadNotFoundError, InvalidRequestError: as
                `shared.assistants.runs.submit`.
            QueueFullError, LimitReachedError: the organization has as many runs, or bytes, as it may have.
            ConflictError: as `api.idempotency.KeyedRequest.once`.
            OverloadedError: there was no turn in time.
        """
        if assistant_id is not None and self.keyed is None and Offer.is_possible(wanted):
            run = await self._offered(Offer(self.principal, assistant_id, wanted, self.terms))
            if run is not None:
                note(run_id=str(run.id), trace_id=run.trace_id)
                return run
        async with turn(self.resources.lanes.requests, self.request, self.principal):
            return await to_thread.run_sync(self._submitted, assistant_id, wanted)

    async def _offered(self, offer: Offer) -> Run | None:
        size = len(await self.request.body())
        quotas = self.resources.quotas
        if size > LARGEST or not quotas.takes_known_room_for_run(self.principal.organization_id):
            return None
        async with turn(self.resources.lanes.creates, self.request, self.principal):
            accepted = await self.resources.creates.do(offer, size=size)
        if accepted is None:
            return None
        self.resources.hub.expect(accepted.run, accepted.event)
        return accepted.run

    def _submitted(self, assistant_id: uuid.UUID | None, wanted: RunRequest) -> Run:
        with unit_of_work(self.resources.sessions) as session:
            make: Callable[[], Run] = partial(self._made, session, assistant_id, wanted)
            if self.keyed is None:
                return make()
            find = partial(queries.get_run, session, organization_id=self.principal.organization_id)
            return self.keyed.once(session, make, find)

    def _made(self, session: Session, assistant_id: uuid.UUID | None, wanted: RunRequest) -> Run:
        resources, principal = self.resources, self.principal
        resources.quotas.require_room_for_run(session, principal.organization_id)
        chosen = assistant_id or default_assistant(session, principal).id
        return submit(session, resources.dispatcher, principal, chosen, wanted, terms=self.terms)


async def _run_creation(
    request: Request, principal: PrincipalDep, idempotency_key: IdempotencyKeyHeader = None
) -> RunCreation:
    keyed = await keyed_request(request, principal, idempotency_key)
    return RunCreation(request, principal, resources_of(request), terms_of(request), keyed)


RunCreationDep = Annotated[RunCreation, Depends(_run_creation)]
