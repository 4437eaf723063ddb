"""The shapes of threads and messages (contract: griptape §10, §11)."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.fields import Alias, Instant, Metadata, Name, given
from api.griptape.pagination import AnyPagination, Pagination
from shared.models import Thread
from shared.threads.queries import Size
from shared.threads.service import NewMessage


class MessageInThread(BaseModel):
    """An exchange, as it comes with a thread."""

    input: str
    output: str
    metadata: Metadata | None = None

    def new(self) -> NewMessage:
        return NewMessage(self.input, self.output, self.metadata or {})


Messages = Annotated[list[MessageInThread], Field(fail_fast=True)]


class _ThreadFields(BaseModel):
    alias: Alias | None = None
    metadata: Metadata | None = None
    messages: Messages | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set, as the table names them."""
        return given(self, but={"messages"}, cleared={"alias": None, "metadata": {}})

    def new_messages(self) -> list[NewMessage] | None:
        return None if self.messages is None else [message.new() for message in self.messages]


class ThreadCreate(_ThreadFields):
    """A new thread, with its first messages if it has any."""

    name: Name


class ThreadUpdate(_ThreadFields):
    """What is to change; messages, if present, replace all there are."""

    name: Name | None = None


class ThreadView(BaseModel):
    """A thread; `message_count` counts exchanges, `messages_length` their characters."""

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


class MessageCreate(MessageInThread):
    """A new exchange."""


class MessageUpdate(BaseModel):
    """What is to change; the rest stays."""

    input: str | None = None
    output: str | None = None
    metadata: Metadata | None = None

    def given(self) -> dict[str, Any]:
        """The fields the caller set, as the table names them."""
        return given(self, cleared={"metadata": {}})


class MessageView(BaseModel):
    """One exchange of a thread; `index` orders them."""

    model_config = ConfigDict(from_attributes=True)

    message_id: uuid.UUID = Field(validation_alias="id")
    thread_id: uuid.UUID
    index: int
    input: str
    output: str
    metadata: dict[str, Any] = Field(validation_alias="meta")
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant


class MessageList(BaseModel):
    """A page of messages, oldest first."""

    messages: list[MessageView]
    pagination: Pagination
