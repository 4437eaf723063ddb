"""The shapes of runs."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel
from pydantic_core import PydanticCustomError

from api.requests.blanks import OptionalId
from api.requests.known_keys import UNSERVED
from api.watsonx.guardrails import Guardrails
from api.watsonx.llm_params import LlmParams
from api.watsonx.statuses import status_of
from api.watsonx.thread_message_schemas import (
    USER,
    Content,
    SaidBy,
    answer_of,
    message_id,
    text_in,
)
from api.watsonx.usage import usage_of
from shared.assistants.runs import RunRequest
from shared.errors import InvalidRequestError
from shared.extensions import missing_guardrails
from shared.instants import rfc3339, rfc3339_or_none
from shared.lifecycle import RunStatus
from shared.models import JsonObject, Run


def _with_text(content: Content) -> Content:
    if not text_in(content).strip():
        raise PydanticCustomError("no_text", "The message has to hold a text.")
    return content


class CreateMessage(BaseModel):
    """The message of the caller."""

    role: SaidBy
    content: Annotated[Content, AfterValidator(_with_text)]


class RunOrchestrate(BaseModel):
    """A new run."""

    message: CreateMessage | None = None
    thread_id: OptionalId = None
    agent_id: OptionalId = None
    llm_params: LlmParams | None = None
    guardrails: Guardrails | None = None
    additional_parameters: Annotated[dict[str, Any] | None, UNSERVED] = None

    def request(self) -> RunRequest:
        """The request in our terms: the message is the run's argument, and the run is always on a thread.

        Raises:
            InvalidRequestError: an enabled guardrail has no detector here.
        """
        unguarded = missing_guardrails(self.guardrails.enabled()) if self.guardrails else []
        if unguarded:
            raise InvalidRequestError(
                f"No detector for the guardrail {unguarded[0]!r} is installed: the run would go unguarded.",
                path=("body", "guardrails", unguarded[0]),
            )
        return RunRequest(
            args=[text_in(self.message.content)] if self.message else (),
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
    """The ids of a new run and of its first message.

    `thread_id` is null only in a repeated answer (`Idempotency-Key`) after the thread was deleted.
    """

    thread_id: uuid.UUID | None
    run_id: uuid.UUID
    task_id: uuid.UUID
    message_id: uuid.UUID

    @classmethod
    def of(cls, run: Run) -> "Created":
        return cls(
            thread_id=run.thread_id, run_id=run.id, task_id=run.id, message_id=message_id(run.id, USER)
        )


class Cancelled(BaseModel):
    """The cancelled run."""

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
    status_detail: dict[str, Any] | None

    @classmethod
    def of(cls, run: Run, steps: Sequence[JsonObject] = ()) -> "AssistantRun":
        status = status_of(run)
        ended = rfc3339_or_none(run.completed_at)
        error = result = None
        if run.status in {RunStatus.FAILED, RunStatus.ERROR}:
            error = str((run.status_detail or {}).get("message", run.status))
        elif run.status is RunStatus.SUCCEEDED and isinstance(run.output, dict):
            message = answer_of(run, run.output, steps, completed_at=ended or "")
            nowhere = dict.fromkeys(["target_run_id", "correlation_id", "flowinstance_id"])
            data = {"message": message, "message_id": message["id"], **nowhere}
            result = {"type": "message_created", "data": data}
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
            usage=usage_of(run),
            last_error=error,
            error=error,
            result=result,
            guardrails=run.guardrails,
            additional_parameters=run.additional_parameters,
            trace_id=run.trace_id,
            status_detail=run.status_detail,
        )


class RunPage(BaseModel):
    """A page of runs; the next page begins at `next_cursor`."""

    total: int | None
    limit: int
    offset: int
    next_cursor: str | None
    data: list[AssistantRun]


class RunEvent(BaseModel):
    """An event of a run."""

    id: str
    event: str
    data: dict[str, Any]
