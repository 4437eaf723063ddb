"""Path ids. A malformed id is a 404, like an unknown one."""

import uuid
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import BeforeValidator

from shared.errors import (
    ApiKeyNotFoundError,
    AssistantNotFoundError,
    DeploymentNotFoundError,
    EventNotFoundError,
    MessageNotFoundError,
    NotFoundError,
    OrganizationNotFoundError,
    RuleNotFoundError,
    RulesetNotFoundError,
    RunNotFoundError,
    StructureNotFoundError,
    ThreadNotFoundError,
    UserNotFoundError,
)

MAX_ECHO: Final = 80  # characters of a malformed id that an answer repeats


def _id_or(error: type[NotFoundError]) -> BeforeValidator:
    def read(value: Any) -> uuid.UUID:
        try:
            return uuid.UUID(value)
        except ValueError:
            raise error(value[:MAX_ECHO]) from None

    return BeforeValidator(read)


AssistantId = Annotated[uuid.UUID, _id_or(AssistantNotFoundError), Path()]
StructureId = Annotated[uuid.UUID, _id_or(StructureNotFoundError), Path()]
StructureRunId = Annotated[uuid.UUID, _id_or(RunNotFoundError), Path()]
DeploymentId = Annotated[uuid.UUID, _id_or(DeploymentNotFoundError), Path()]
RunId = Annotated[uuid.UUID, _id_or(RunNotFoundError), Path()]
EventId = Annotated[uuid.UUID, _id_or(EventNotFoundError), Path()]
ThreadId = Annotated[uuid.UUID, _id_or(ThreadNotFoundError), Path()]
MessageId = Annotated[uuid.UUID, _id_or(MessageNotFoundError), Path()]
RulesetId = Annotated[uuid.UUID, _id_or(RulesetNotFoundError), Path()]
RuleId = Annotated[uuid.UUID, _id_or(RuleNotFoundError), Path()]
UserId = Annotated[uuid.UUID, _id_or(UserNotFoundError), Path()]
OrganizationId = Annotated[uuid.UUID, _id_or(OrganizationNotFoundError), Path()]
ApiKeyId = Annotated[uuid.UUID, _id_or(ApiKeyNotFoundError), Path()]
