"""Shapes of messages, each an exchange of a thread."""

import uuid
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from api.griptape.common_schemas import GivenFields
from api.griptape.fields import Instant, Metadata
from api.griptape.pagination import Pagination
from shared.threads.service import NewMessage


class MessageInThread(BaseModel):
    """A message of a new thread: an input and its output."""

    input: str
    output: str
    metadata: Metadata | None = None

    def new(self) -> NewMessage:
        return NewMessage(self.input, self.output, self.metadata or {})


class MessageCreate(MessageInThread):
    """A new message: an input and its output."""


class MessageUpdate(GivenFields):
    """The changes. Absent fields stay."""

    cleared: ClassVar = {"metadata": {}}

    input: str | None = None
    output: str | None = None
    metadata: Metadata | None = None


class MessageView(BaseModel):
    """A message of a thread: an input and its output, ordered by `index`."""

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
