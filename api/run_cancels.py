"""Cancel of a single run: together with others where possible, else in a transaction of its own."""

import uuid
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request

from api.dependencies import PrincipalDep, resources_of, turn
from api.resources import Resources
from shared.db import unit_of_work
from shared.keys.principal import Principal
from shared.lifecycle import RunKind
from shared.logs import note
from shared.models import Run
from shared.runs import service
from shared.runs.together import Cancel


@dataclass(frozen=True, slots=True)
class RunCancel:
    """The cancel of one run, for its caller: never behind requests that begin or read some."""

    request: Request
    principal: Principal
    resources: Resources

    async def __call__(self, run_id: uuid.UUID, *, kind: RunKind = RunKind.ASSISTANT) -> Run:
        """Cancel a run; one that has ended stays as it is.

        Raises:
            RunNotFoundError: the caller's organization has no such run of that kind.
            OverloadedError: there was no turn in time.
        """
        if kind is RunKind.ASSISTANT:
            cancel = Cancel(run_id, self.principal.organization_id, self.principal.name)
            async with turn(self.resources.lanes.shared_cancels, self.request, self.principal):
                run = await self.resources.cancels.do(cancel)
            if run is not None:
                note(run_id=str(run_id))
                return run
        async with turn(self.resources.lanes.cancels, self.request, self.principal):
            return await to_thread.run_sync(self._alone, run_id, kind)

    def _alone(self, run_id: uuid.UUID, kind: RunKind) -> Run:
        with unit_of_work(self.resources.sessions) as session:
            return service.cancel(session, self.resources.dispatcher, self.principal, run_id, kind=kind)


async def _run_cancel(request: Request, principal: PrincipalDep) -> RunCancel:
    return RunCancel(request, principal, resources_of(request))


RunCancelDep = Annotated[RunCancel, Depends(_run_cancel)]
