"""Agents and their tools, which are our assistants and structures (contract: watsonx §6.4)."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from api.dependencies import ListsDep, PrincipalDep, SessionDep
from api.path_ids import AssistantId, StructureId
from api.routing import KeyedRoute
from api.watsonx.errors import ERRORS
from api.watsonx.paging import WholeSliceDep
from shared.assistants import queries as assistants
from shared.instants import rfc3339
from shared.models import Assistant, JsonObject, Structure
from shared.structures import queries as structures
from shared.structures.naming import tool_name

router = APIRouter(route_class=KeyedRoute, responses=ERRORS)

ARGUMENTS: Final[JsonObject] = {
    "type": "object",
    "properties": {"args": {"type": "array", "items": {"type": "string"}}},
    "required": ["args"],
}
"""What a structure is called with, as a JSON schema."""


Chosen = Annotated[
    Sequence[Annotated[str, StringConstraints(max_length=200)]],
    Query(max_length=50, description="Repeat it; without `names` and `ids` all are listed."),
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
    """List agents, which are our assistants; with `names` or `ids` only those that have one of them."""
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
        lambda _, rows: [_agent(row) for row in rows],
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
    """List tools, which are our structures; with `names` or `ids` only those that have one of them."""
    page = structures.page(
        session,
        organization_id=principal.organization_id,
        ids=_tools_among(session, principal.organization_id, names, ids) if names or ids else None,
        part=part.part(session),
        is_light=True,
    )
    return lists.answer(
        session,
        principal,
        page.rows,
        lambda _, rows: [_tool(row) for row in rows],
        headers=part.headers(session, page),
    )


@router.get("/agents/{agent_id}", tags=["Agents"])
@router.get("/orchestrate/agents/{agent_id}", tags=["Agents"])
def get_agent(session: SessionDep, principal: PrincipalDep, agent_id: AssistantId) -> dict[str, Any]:
    """Read an agent."""
    return _agent(assistants.get_assistant(session, agent_id, organization_id=principal.organization_id))


@router.get("/tools/{tool_id}", tags=["Tools"])
@router.get("/orchestrate/tools/{tool_id}", tags=["Tools"])
def get_tool(session: SessionDep, principal: PrincipalDep, tool_id: StructureId) -> dict[str, Any]:
    """Read a tool."""
    return _tool(structures.get_structure(session, tool_id, organization_id=principal.organization_id))


def _uuids(ids: Sequence[str]) -> list[uuid.UUID]:
    """The ids that are any; what is none names nothing."""
    found = []
    for identifier in ids:
        with suppress(ValueError):
            found.append(uuid.UUID(identifier))
    return found


def _tools_among(
    session: Session, organization_id: uuid.UUID, wanted: Sequence[str], ids: Sequence[str]
) -> list[uuid.UUID]:
    """The structures that have one of these ids, or whose tool has one of these names."""
    named = structures.names(session, organization_id=organization_id) if wanted else ()
    return [*_uuids(ids), *(row.id for row in named if {row.name, tool_name(row.name)} & set(wanted))]


def _agent(assistant: Assistant) -> JsonObject:
    return {
        "id": assistant.id,
        "name": assistant.name,
        "display_name": assistant.name,
        "description": assistant.description,
        "tenant_id": str(assistant.organization_id),
        "llm": assistant.model,
        "tools": assistant.structure_ids,
        "created_on": rfc3339(assistant.created_at),
        "updated_at": rfc3339(assistant.updated_at),
    }


def _tool(structure: Structure) -> JsonObject:
    return {
        "id": structure.id,
        "name": tool_name(structure.name),
        "display_name": structure.name,
        "description": structure.description,
        "tenant_id": str(structure.organization_id),
        "input_schema": ARGUMENTS,
        "created_on": rfc3339(structure.created_at),
        "updated_at": rfc3339(structure.updated_at),
    }
