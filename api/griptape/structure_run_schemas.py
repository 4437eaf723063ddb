"""The shapes of structure runs, and of what their code reports."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from api.griptape.common_schemas import LimitFields, ShownLimits
from api.griptape.fields import Instant, optional
from api.griptape.pagination import AnyPagination
from api.griptape.run_schemas import Argument
from api.griptape.structure_schemas import EnvVar, EnvVars, ShownVariable, VariableName, VariableValue
from api.requests.metadata import SmallMap
from shared.artifacts import text_artifact
from shared.lifecycle import RunStatus
from shared.models import LIMITS
from shared.structures.reports import Report
from shared.structures.runs import Completion, StructureRunRequest

MAX_BATCH: Final = 1_000
"""Events, or spans, of one request."""

Plain = Annotated[Argument, StringConstraints(pattern=r"^[^\x00]*$")]
"""An argument of a command line."""


class StructureRunCreate(LimitFields):
    """A new run. With `execution: external`, other code executes it and reports its end."""

    args: list[Plain] | None = None
    env_vars: EnvVars | None = None
    env: dict[VariableName, VariableValue] | None = None  # what older clients say for `env_vars`
    execution: Literal["managed", "external"] | None = None
    metadata: SmallMap | None = None

    def request(self) -> StructureRunRequest:
        variables = [EnvVar(name=name, value=value) for name, value in (self.env or {}).items()]
        variables += self.env_vars or []
        limits = {name: getattr(self, name) for name in LIMITS}
        return StructureRunRequest(
            args=self.args or (),
            env_vars=[variable.model_dump() for variable in variables],
            is_external=self.execution == "external",
            metadata=self.metadata or {},
            limits={name: value for name, value in limits.items() if value is not None},
        )


def _execution(is_external: Any) -> Any:
    return {True: "external", False: "managed"}.get(is_external, is_external)


class _StructureRunHead(BaseModel):
    structure_run_id: uuid.UUID = Field(validation_alias="id")
    structure_id: uuid.UUID
    status: RunStatus
    status_detail: Any = optional()
    args: list[Argument]
    env_vars: list[ShownVariable] | None = optional()
    output: Any = optional()
    output_timestamp: float | None = Field(
        default=None, validation_alias="output_at", exclude_if=lambda value: value is None
    )
    deployment_id: uuid.UUID | None = optional()
    execution: Annotated[Literal["managed", "external"], BeforeValidator(_execution)] = Field(
        validation_alias="is_external"
    )
    parent_run_id: uuid.UUID | None = optional()


class StructureRunView(ShownLimits, _StructureRunHead):
    """A run of a structure."""

    model_config = ConfigDict(from_attributes=True)

    attempt: int
    worker: str | None = optional()
    metadata: dict[str, str] = Field(validation_alias="meta")
    created_by: uuid.UUID
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None
    completed_at: Instant | None


class StructureRunList(BaseModel):
    """A page of structure runs."""

    structure_runs: list[StructureRunView]
    pagination: AnyPagination


class StructureRunsCancelled(BaseModel):
    """The cancelled runs. Call again while `remaining` is not 0."""

    cancelled: int
    remaining: int
    structure_run_ids: list[uuid.UUID]


class CalledRuns(BaseModel):
    """The structure runs that an assistant run called, in order."""

    structure_runs: list[StructureRunView]


class ReportIn(BaseModel):
    """An event of a program. A payload that is no object is stored as `{"value": …}`."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    timestamp: Annotated[float, Field(strict=True, allow_inf_nan=False)]  # as clients count: kept as it is
    payload: Any = None

    def report(self) -> Report:
        payload = self.payload
        if payload is None:
            payload = {}
        elif not isinstance(payload, dict):
            payload = {"value": payload}
        return Report(self.type, payload, self.timestamp)


Reports = Annotated[list[ReportIn], Field(max_length=MAX_BATCH)]


class ReportBatch(BaseModel):
    """A batch of events."""

    events: Reports


def _form(body: Any) -> str:
    if isinstance(body, list):
        return "list"
    has_events = "events" in body if isinstance(body, dict) else hasattr(body, "events")
    return "batch" if has_events or not isinstance(body, dict) or "type" not in body else "one"


ReportsBody = Annotated[
    Annotated[ReportBatch, Tag("batch")] | Annotated[Reports, Tag("list")] | Annotated[ReportIn, Tag("one")],
    Discriminator(_form),
]
"""The three forms that clients send: a batch, a bare array, a bare event."""


def reports_of(body: ReportBatch | list[ReportIn] | ReportIn) -> list[Report]:
    match body:
        case ReportBatch():
            items = body.events
        case ReportIn():
            items = [body]
        case _:
            items = body
    return [item.report() for item in items]


class StructureRunComplete(BaseModel):
    """The end of an external run."""

    status: Literal["SUCCEEDED", "FAILED"] = "SUCCEEDED"
    output: Any = None  # an artifact, or a text
    message: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None
    exit_code: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None

    def completion(self) -> Completion:
        succeeded = self.status == "SUCCEEDED"
        said = "Its caller says that it has ended." if succeeded else "Its caller says that it has failed."
        output = text_artifact(self.output) if isinstance(self.output, str) else self.output
        return Completion(succeeded, self.message or said, output, self.exit_code)


class SpanEvent(BaseModel):
    """An event of a span."""

    name: str
    timestamp: datetime | None = None
    attributes: dict[str, Any] | None = None


class Span(BaseModel):
    """A tracing span of a run."""

    trace_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    span_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    parent_id: str | None = None
    name: str
    start_time: datetime | None = None
    end_time: datetime | None = None
    status: Literal["UNSET", "OK", "ERROR"] = "UNSET"
    attributes: dict[str, Any] | None = None
    events: list[SpanEvent] | None = None


Spans = Annotated[list[Span], Field(max_length=MAX_BATCH)]


class SpanList(BaseModel):
    """A page of spans; `page` is the number of the next one, if there is one."""

    spans: list[Span]
    page: int | None = optional()


class Log(BaseModel):
    """Output lines of a run; the next page begins at `next_offset`."""

    logs: list[str]
    total_count: int
    next_offset: int
