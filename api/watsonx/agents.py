"""Agents and tools: list, read."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from api.dependencies import ListsDep, PrincipalDep, SessionDep
from api.requests.path_ids import AssistantId, StructureId
from api.routing import KeyedRoute
from api.watsonx.agent_schemas import shown_agent, shown_tool
from api.watsonx.errors import ERRORS
from api.watsonx.paging import WholeSliceDep
from shared.assistants import queries as assistants
from shared.structures import queries as structures
from shared.structures.naming import tool_name

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)


Chosen = Annotated[
    Sequence[Annotated[str, StringConstraints(max_length=200)]],
    Query(max_length=50, description="May be repeated. Without `names` and `ids`, all are listed."),
]


@router.get("/agents", response_model=list[dict[str, Any]], tags=["Agents"])
@router.get("/orchestrate/agents", response_model=list[dict[str, Any]], tags=["Agents"])
def list_agents(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    *,
    part: WholeSliceDep,
    names: Chosen = (),
    ids: Chosen = (),
) -> Response:
    """List agents; with `names` or `ids`, those with one of the names or ids."""
    page = assistants.page(
        session,
        organization_id=principal.organization_id,
        names=[name for name in names if name.isprintable()],
        ids=_uuids(ids) if names or ids else None,
        part=part.part(session),
        is_light=True,
    )
    return lists.answer(
        session,
        principal,
        page.rows,
        lambda _, rows: [shown_agent(row) for row in rows],
        headers=part.headers(session, page),
    )


@router.get("/tools", response_model=list[dict[str, Any]], tags=["Tools"])
@router.get("/orchestrate/tools", response_model=list[dict[str, Any]], tags=["Tools"])
def list_tools(
    session: SessionDep,
    principal: PrincipalDep,
    lists: ListsDep,
    *,
    part: WholeSliceDep,
    names: Chosen = (),
    ids: Chosen = (),
) -> Response:
    """List tools; with `names` or `ids`, those with one of the names or ids."""
    named = structures.names(session, organization_id=principal.organization_id) if names else ()
    found = [*_uuids(ids), *(row.id for row in named if {row.name, tool_name(row.name)} & set(names))]
    page = structures.page(
        session,
        organization_id=principal.organization_id,
        ids=found if names or ids else None,
        part=part.part(session),
        is_light=True,
    )
    return lists.answer(
        session,
        principal,
        page.rows,
        lambda _, rows: [shown_tool(row) for row in rows],
        headers=part.headers(session, page),
    )


@router.get("/agents/{agent_id}", tags=["Agents"])
@router.get("/orchestrate/agents/{agent_id}", tags=["Agents"])
def get_agent(session: SessionDep, principal: PrincipalDep, agent_id: AssistantId) -> dict[str, Any]:
    """Read an agent."""
    return shown_agent(assistants.get_assistant(session, agent_id, organization_id=principal.organization_id))


@router.get("/tools/{tool_id}", tags=["Tools"])
@router.get("/orchestrate/tools/{tool_id}", tags=["Tools"])
def get_tool(session: SessionDep, principal: PrincipalDep, tool_id: StructureId) -> dict[str, Any]:
    """Read a tool."""
    return shown_tool(structures.get_structure(session, tool_id, organization_id=principal.organization_id))


def _uuids(ids: Sequence[str]) -> list[uuid.UUID]:
    """The texts that are ids; any other text names nothing."""
    found = []
    for identifier in ids:
        with suppress(ValueError):
            found.append(uuid.UUID(identifier))
    return found
