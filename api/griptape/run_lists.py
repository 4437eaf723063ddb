"""Lists of runs of either kind: of one assistant or structure, and of all."""

import uuid
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.dependencies import ListsDep, PrincipalDep, SessionDep
from api.errors import BAD_REQUEST, NOT_FOUND
from api.griptape.errors import documented
from api.griptape.pagination import PartDep
from api.griptape.run_schemas import RunList, RunView, Statuses
from api.griptape.structure_run_schemas import StructureRunList, StructureRunView
from api.lists import shown_as
from api.requests.path_ids import AssistantId, StructureId
from api.requests.run_filters import RunFilterDep
from api.routing import KeyedRoute
from api.run_keys import RunAccess, open_to_runs
from shared.assistants.queries import get_assistant
from shared.lifecycle import RunKind
from shared.runs import lists as runs
from shared.structures.queries import get_structure

router = APIRouter(route_class=KeyedRoute)


_VIEWS = {RunKind.ASSISTANT: shown_as(RunView), RunKind.STRUCTURE: shown_as(StructureRunView)}


async def _wanted(wanted: RunFilterDep, status: Statuses = frozenset()) -> runs.RunFilter:
    return replace(wanted, statuses=status or None)


@dataclass(frozen=True, slots=True)
class Listing:
    """Which part of which runs is asked for, and what is needed to answer with it."""

    session: SessionDep
    principal: PrincipalDep
    lists: ListsDep
    part: PartDep
    wanted: Annotated[runs.RunFilter, Depends(_wanted)]

    def answer(self, kind: RunKind, subject_id: uuid.UUID | None = None) -> Response:
        """List runs of one kind, of one subject or of all."""
        listed = runs.RunList(self.principal.organization_id, kind, subject_id)
        part = self.part.part(self.session)
        found = runs.page(self.session, listed, part, self.wanted, is_light=True)
        more = {"pagination": self.part.pagination(self.session, found)}
        return self.lists.answer(
            self.session, self.principal, found.rows, _VIEWS[kind], key=f"{kind}_runs", more=more
        )


ListingDep = Annotated[Listing, Depends()]


@router.get(
    "/assistants/{assistant_id}/runs",
    tags=["Assistant Runs"],
    response_model=RunList,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.RUNS)
def list_assistant_runs(listing: ListingDep, assistant_id: AssistantId) -> Response:
    """List an assistant's runs, newest first."""
    get_assistant(listing.session, assistant_id, organization_id=listing.principal.organization_id)
    return listing.answer(RunKind.ASSISTANT, assistant_id)


@router.get(
    "/assistant-runs", tags=["Assistant Runs"], response_model=RunList, responses=documented(BAD_REQUEST)
)
def list_all_assistant_runs(listing: ListingDep) -> Response:
    """List the runs of all assistants, newest first."""
    return listing.answer(RunKind.ASSISTANT)


@router.get(
    "/structures/{structure_id}/runs",
    tags=["Structure Runs"],
    response_model=StructureRunList,
    responses=documented(BAD_REQUEST, NOT_FOUND),
)
@open_to_runs(RunAccess.RUNS)
def list_structure_runs(listing: ListingDep, structure_id: StructureId) -> Response:
    """List a structure's runs, newest first."""
    get_structure(listing.session, structure_id, organization_id=listing.principal.organization_id)
    return listing.answer(RunKind.STRUCTURE, structure_id)


@router.get(
    "/structure-runs",
    tags=["Structure Runs"],
    response_model=StructureRunList,
    responses=documented(BAD_REQUEST),
)
def list_all_structure_runs(listing: ListingDep) -> Response:
    """List the runs of all structures, newest first."""
    return listing.answer(RunKind.STRUCTURE)
