"""Shapes of agents and tools, which are assistants and structures."""

from typing import Final

from shared.instants import rfc3339
from shared.models import Assistant, JsonObject, Structure
from shared.structures.naming import tool_name

ARGUMENTS: Final[JsonObject] = {
    "type": "object",
    "properties": {"args": {"type": "array", "items": {"type": "string"}}},
    "required": ["args"],
}
"""What a structure is called with, as a JSON schema."""


def shown_agent(assistant: Assistant) -> JsonObject:
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


def shown_tool(structure: Structure) -> JsonObject:
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
