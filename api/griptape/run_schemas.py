"""The shapes of assistant runs (contract: griptape §6)."""

import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from api.griptape.fields import Attempts, Duration, Ids, Instant, Model, Seconds, UnservedIds, optional
from api.griptape.pagination import AnyPagination
from api.metadata import RunMetadata
from api.run_filters import split
from shared.models import LIMITS, RESOURCE_LISTS
from shared.runs.lifecycle import ACTIVE, RunStatus
from shared.runs.service import RunRequest


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


Argument = Annotated[str, BeforeValidator(_text)]
"""Text; anything else becomes its JSON, since clients send artifact values unconverted."""


def _nothing_is_none(value: Any) -> Any:
    return None if value == "" else value


OptionalId = Annotated[uuid.UUID | None, BeforeValidator(_nothing_is_none)]
"""Null and the empty string mean no thread, as some clients say it."""


class RunCreate(BaseModel):
    """What to run. A list that is present, even empty, stands in for the assistant's own."""

    args: list[Argument] | None = None
    input: str | None = None
    thread_id: OptionalId = None
    new_thread: StrictBool | None = None
    stream: StrictBool | None = None
    model: Model | None = None
    max_duration: Duration | None = None
    queue_ttl: Duration | None = None
    max_attempts: Attempts | None = None
    metadata: RunMetadata | None = None
    knowledge_base_ids: UnservedIds = None
    retriever_ids: UnservedIds = None
    ruleset_ids: Ids | None = None
    structure_ids: Ids | None = None
    tool_ids: UnservedIds = None
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


class RunView(BaseModel):
    """A run of an assistant."""

    model_config = ConfigDict(from_attributes=True)

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
    max_duration: Seconds | None = optional()
    queue_ttl: Seconds | None = optional()
    max_attempts: int | None = optional()
    knowledge_base_ids: list[uuid.UUID]
    retriever_ids: list[uuid.UUID]
    ruleset_ids: list[uuid.UUID]
    structure_ids: list[uuid.UUID]
    tool_ids: list[uuid.UUID]
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
    """Which runs to cancel: those in these statuses, all that go on if absent."""

    statuses: list[ActiveStatus] | None = None

    def wanted(self) -> frozenset[RunStatus]:
        return ACTIVE if self.statuses is None else frozenset(map(RunStatus, self.statuses))


class RunsCancelled(BaseModel):
    """The runs that this call cancelled; while any matching ones remain, call again."""

    cancelled: int
    remaining: int
    assistant_run_ids: list[uuid.UUID]


class RunList(BaseModel):
    """A page of runs."""

    assistant_runs: list[RunView]
    pagination: AnyPagination


Statuses = Annotated[frozenset[RunStatus], BeforeValidator(split), Query()]
"""One or more, repeated or with commas."""
