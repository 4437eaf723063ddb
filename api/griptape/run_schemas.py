"""The shapes of assistant runs (contract: griptape §6)."""

import uuid
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from api.griptape.fields import Ids, Instant, Model, optional
from api.griptape.pagination import Pagination
from shared.models import RESOURCE_LISTS
from shared.runs.lifecycle import RunStatus
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
    knowledge_base_ids: Ids | None = None
    retriever_ids: Ids | None = None
    ruleset_ids: Ids | None = None
    structure_ids: Ids | None = None
    tool_ids: Ids | None = None
    additional_knowledge_base_ids: Ids | None = None
    additional_retriever_ids: Ids | None = None
    additional_ruleset_ids: Ids | None = None
    additional_structure_ids: Ids | None = None
    additional_tool_ids: Ids | None = None

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
        )

    def _lists(self, prefix: str) -> dict[str, list[uuid.UUID]]:
        lists = {name: getattr(self, prefix + name) for name in RESOURCE_LISTS}
        return {name: ids for name, ids in lists.items() if ids is not None}


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
    knowledge_base_ids: list[uuid.UUID]
    retriever_ids: list[uuid.UUID]
    ruleset_ids: list[uuid.UUID]
    structure_ids: list[uuid.UUID]
    tool_ids: list[uuid.UUID]
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant
    completed_at: Instant | None


class RunList(BaseModel):
    """A page of runs."""

    assistant_runs: list[RunView]
    pagination: Pagination


def _split(values: Any) -> list[str]:
    """Read `status=A,B` like `status=A&status=B`."""
    return [name for value in values for name in value.split(",") if name]


Statuses = Annotated[frozenset[RunStatus], BeforeValidator(_split)]
