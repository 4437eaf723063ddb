"""The shapes of runs (contract: watsonx §2, §3)."""

import uuid
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from api.watsonx.events import EXPIRED
from api.watsonx.llm_params import Guardrails, LlmParams
from api.watsonx.messages import USER, answer_of, message_id
from shared.errors import InvalidRequestError
from shared.guardrails import missing
from shared.instants import rfc3339, rfc3339_or_none
from shared.models import JsonObject, Run
from shared.runs.lifecycle import RunStatus
from shared.runs.service import RunRequest

STATUSES: Final = {
    RunStatus.QUEUED: "pending",
    RunStatus.STARTING: "pending",
    RunStatus.RUNNING: "running",
    RunStatus.SUCCEEDED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.ERROR: "failed",
    RunStatus.CANCELLED: "cancelled",
}

_nothing_is_none = BeforeValidator(lambda value: None if value == "" else value)
OptionalId = Annotated[uuid.UUID | None, _nothing_is_none]


class Block(BaseModel):
    """A part of a message; of these, text is read."""

    response_type: str | None = None
    text: str | None = None


class CreateMessage(BaseModel):
    """What a caller says."""

    role: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    content: str | list[Block]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(block.text for block in self.content if block.text is not None)


class RunOrchestrate(BaseModel):
    """What to run; keys beyond these are ignored."""

    message: CreateMessage | None = None
    thread_id: OptionalId = None
    agent_id: OptionalId = None
    llm_params: LlmParams | None = None
    guardrails: Guardrails | None = None
    additional_parameters: dict[str, Any] | None = None

    def request(self) -> RunRequest:
        """The same as one of ours: what is said is the run's argument, on a thread at all events.

        Raises:
            InvalidRequestError: a guardrail is enabled, and nothing is installed that would look.
        """
        unguarded = missing(self.guardrails.enabled()) if self.guardrails else []
        if unguarded:
            raise InvalidRequestError(
                f"No detector for the guardrail {unguarded[0]!r} is installed: the run would go unguarded.",
                path=("body", "guardrails", unguarded[0]),
            )
        return RunRequest(
            args=[self.message.text] if self.message else (),
            stream=True,
            thread_id=self.thread_id,
            new_thread=self.thread_id is None,
            llm_params=_given(self.llm_params),
            guardrails=_given(self.guardrails),
            additional_parameters=self.additional_parameters,
        )


def _given(model: BaseModel | None) -> JsonObject | None:
    return None if model is None else model.model_dump(mode="json", exclude_unset=True)


class Created(BaseModel):
    """The ids of a new run; `message_id` is that of the caller's message."""

    thread_id: uuid.UUID
    run_id: uuid.UUID
    task_id: uuid.UUID
    message_id: uuid.UUID

    @classmethod
    def of(cls, run: Run) -> "Created":
        assert run.thread_id is not None  # noqa: S101  # every run of this dialect is on a thread
        return cls(
            thread_id=run.thread_id, run_id=run.id, task_id=run.id, message_id=message_id(run.id, USER)
        )


class Cancelled(BaseModel):
    """The run that a cancel was for."""

    thread_id: uuid.UUID | None
    run_id: uuid.UUID


class AssistantRun(BaseModel):
    """A run."""

    id: uuid.UUID
    tenant_id: str
    assistant_id: uuid.UUID | None
    agent_id: str | None
    thread_id: uuid.UUID | None
    status: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    failed_at: str | None
    cancelled_at: str | None
    llm_params: dict[str, Any] | None
    usage: dict[str, Any] | None
    last_error: str | None
    error: str | None
    result: dict[str, Any] | None
    guardrails: dict[str, Any] | None
    additional_parameters: dict[str, Any] | None
    trace_id: str

    @classmethod
    def of(cls, run: Run) -> "AssistantRun":
        status = status_of(run)
        ended = rfc3339_or_none(run.completed_at)
        error = _error(run)
        return cls(
            id=run.id,
            tenant_id=str(run.organization_id),
            assistant_id=run.assistant_id,
            agent_id=None if run.assistant_id is None else str(run.assistant_id),
            thread_id=run.thread_id,
            status=status,
            created_at=rfc3339(run.created_at),
            started_at=rfc3339_or_none(run.started_at),
            completed_at=ended if status == "completed" else None,
            failed_at=ended if status in {"failed", "expired"} else None,
            cancelled_at=ended if status == "cancelled" else None,
            llm_params=run.llm_params,
            usage=_usage(run),
            last_error=error,
            error=error,
            result=_result(run),
            guardrails=run.guardrails,
            additional_parameters=run.additional_parameters,
            trace_id=run.id.hex,
        )


class RunPage(BaseModel):
    """A slice of all runs, oldest first."""

    total: int
    limit: int
    offset: int
    data: list[AssistantRun]


class RunEvent(BaseModel):
    """Something that happened in a run."""

    id: str
    event: str
    data: Annotated[dict[str, Any], Field()]


def status_of(run: Run) -> str:
    """A run's status in this dialect (design §6)."""
    if run.status is RunStatus.ERROR and (run.status_detail or {}).get("reason") in EXPIRED:
        return "expired"
    return STATUSES[run.status]


def _error(run: Run) -> str | None:
    if run.status not in {RunStatus.FAILED, RunStatus.ERROR}:
        return None
    return str((run.status_detail or {}).get("message", run.status))


def _usage(run: Run) -> JsonObject | None:
    if run.usage is None:
        return None
    return {
        "prompt_tokens": run.usage.get("input_tokens"),
        "completion_tokens": run.usage.get("output_tokens"),
        "total_tokens": run.usage.get("total_tokens"),
        "model_calls": run.usage.get("model_calls"),
    }


def _result(run: Run) -> JsonObject | None:
    if run.status is not RunStatus.SUCCEEDED or not isinstance(run.output, dict):
        return None
    message = answer_of(run, run.output, completed_at=rfc3339_or_none(run.completed_at) or "")
    data = {
        "message": message,
        "message_id": message["id"],
        "target_run_id": None,
        "correlation_id": None,
        "flowinstance_id": None,
    }
    return {"type": "message_created", "data": data}
