"""The shapes of assistant runs."""

import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from api.griptape.common_schemas import LimitFields, ResourceFields, ShownLimits, ShownResources
from api.griptape.fields import Ids, Instant, Model, UnservedIds, optional
from api.griptape.pagination import AnyPagination
from api.requests.blanks import OptionalId
from api.requests.metadata import SmallMap
from api.requests.run_filters import split
from shared.assistants.runs import RunRequest
from shared.lifecycle import ACTIVE, RunStatus
from shared.models import LIMITS, RESOURCE_LISTS


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


Argument = Annotated[str, BeforeValidator(_text)]
"""Text; anything else becomes its JSON, since clients send artifact values unconverted."""


class RunCreate(LimitFields, ResourceFields):
    """A new run. A list, even an empty one, replaces the assistant's list."""

    args: list[Argument] | None = None
    input: str | None = None
    thread_id: OptionalId = None
    new_thread: StrictBool | None = None
    stream: StrictBool | None = None
    model: Model | None = None
    metadata: SmallMap | None = None
    additional_knowledge_base_ids: UnservedIds = None
    additional_retriever_ids: UnservedIds = None
    additional_ruleset_ids: Ids | None = None
    additional_structure_ids: Ids | None = None
    additional_tool_ids: UnservedIds = None

    def request(self) -> RunRequest:
        return RunRequest(
            input=self.input,
            args=self.args or (),
            stream=bool(self.stream),
            model=self.model,
            thread_id=self.thread_id,
            new_thread=bool(self.new_thread),
            replace=self._lists(""),
            add=self._lists("additional_"),
            limits=self._given(LIMITS),
            metadata=self.metadata or {},
        )

    def _lists(self, prefix: str) -> dict[str, list[uuid.UUID]]:
        given = self._given(prefix + name for name in RESOURCE_LISTS)
        return {name.removeprefix(prefix): ids for name, ids in given.items()}

    def _given(self, names: Iterable[str]) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


class _RunHead(BaseModel):
    assistant_run_id: uuid.UUID = Field(validation_alias="id")
    assistant_id: uuid.UUID
    status: RunStatus
    status_detail: Any = optional()
    input: str | None = optional()
    args: list[Argument]
    output: Any = optional()
    stream: bool
    model: str | None = optional()
    thread_id: uuid.UUID | None = optional()


class RunView(ShownResources, ShownLimits, _RunHead):
    """A run of an assistant."""

    model_config = ConfigDict(from_attributes=True)

    attempt: int
    worker: str | None = optional()
    usage: dict[str, Any] | None = optional()
    metadata: dict[str, str] = Field(validation_alias="meta")
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None
    completed_at: Instant | None


ActiveStatus = Literal["QUEUED", "STARTING", "RUNNING"]  # as words: an error lists them as they are here


class RunsCancel(BaseModel):
    """The statuses of the runs to cancel; absent, all active runs."""

    statuses: list[ActiveStatus] | None = None

    def wanted(self) -> frozenset[RunStatus]:
        return ACTIVE if self.statuses is None else frozenset(map(RunStatus, self.statuses))


class RunsCancelled(BaseModel):
    """The cancelled runs. Call again while `remaining` is not 0."""

    cancelled: int
    remaining: int
    assistant_run_ids: list[uuid.UUID]


class RunList(BaseModel):
    """A page of runs."""

    assistant_runs: list[RunView]
    pagination: AnyPagination


Statuses = Annotated[frozenset[RunStatus], BeforeValidator(split), Query()]
"""One or more, repeated or with commas."""
