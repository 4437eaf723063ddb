"""Shapes of threads."""

import uuid
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, StringConstraints
from sqlalchemy.orm import Session

from api.requests.blanks import OptionalId
from shared.instants import rfc3339
from shared.models import JsonObject, Thread
from shared.threads import queries

Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]


AGENT = "agent_id"
"""Under which key a thread's metadata keeps the agent that it was made for."""


class ThreadCreate(BaseModel):
    """A new thread."""

    title: Title | None = None
    agent_id: OptionalId = None
    assistant_id: OptionalId = None


class ThreadUpdate(BaseModel):
    """The changes."""

    title: Title | None = None


class NewThread(BaseModel):
    """The id of a new thread."""

    thread_id: uuid.UUID


def shown_threads(session: Session, threads: Sequence[Thread]) -> list[JsonObject]:
    """Threads as they are shown: each with the agent it was made for, or else that of its first run."""
    first_agents = queries.first_assistants(session, [thread.id for thread in threads])
    agents = {thread.id: thread.meta.get(AGENT) or first_agents.get(thread.id) for thread in threads}
    return [
        {
            "id": thread.id,
            "tenant_id": str(thread.organization_id),
            "tenant_name": None,
            "status": "ready",
            "title": thread.name,
            "assistant_id": agents[thread.id],
            "agent_id": agents[thread.id],
            "created_by": thread.created_by,
            "created_by_username": None,
            "created_on": rfc3339(thread.created_at),
            "updated_at": rfc3339(thread.updated_at),
            "deleted_at": None,
            "deleted_by": None,
        }
        for thread in threads
    ]
