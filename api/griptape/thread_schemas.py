"""Shapes of threads."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field

from api.griptape.common_schemas import GivenFields
from api.griptape.fields import Alias, Instant, Metadata, Name
from api.griptape.message_schemas import MessageInThread
from api.griptape.pagination import AnyPagination
from shared.models import Thread
from shared.threads.queries import Size
from shared.threads.service import NewMessage

Messages = Annotated[list[MessageInThread], Field(fail_fast=True)]


class _ThreadFields(GivenFields):
    cleared: ClassVar = {"alias": None, "metadata": {}}
    no_columns = frozenset({"messages"})

    alias: Alias | None = None
    metadata: Metadata | None = None
    messages: Messages | None = None

    def new_messages(self) -> list[NewMessage] | None:
        return None if self.messages is None else [message.new() for message in self.messages]


class ThreadCreate(_ThreadFields):
    """A new thread and its first messages."""

    name: Name


class ThreadUpdate(_ThreadFields):
    """The changes. Absent fields stay; `messages` replace all messages."""

    name: Name | None = None


class ThreadView(BaseModel):
    """A thread. `message_count` counts messages, `messages_length` their characters."""

    thread_id: uuid.UUID
    name: str
    alias: str
    metadata: dict[str, Any]
    message_count: int
    messages_length: int
    organization_id: uuid.UUID
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, thread: Thread, sizes: Mapping[uuid.UUID, Size]) -> "ThreadView":
        size = sizes.get(thread.id, Size())
        return cls(
            thread_id=thread.id,
            name=thread.name,
            alias=thread.alias or "",
            metadata=thread.meta,
            message_count=size.message_count,
            messages_length=size.messages_length,
            organization_id=thread.organization_id,
            created_by=thread.created_by,
            created_at=thread.created_at,
            updated_at=thread.updated_at,
        )


class ThreadList(BaseModel):
    """A page of threads."""

    threads: list[ThreadView]
    pagination: AnyPagination
