"""The shapes of runs (contract: watsonx §2, §3)."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, StringConstraints

from api.known_keys import UNSERVED
from api.watsonx.content import Content, text_in
from api.watsonx.guardrails import Guardrails
from api.watsonx.llm_params import LlmParams
from api.watsonx.messages import USER, answer_of, message_id
from api.watsonx.statuses import status_of
from api.watsonx.usage import usage_of
from shared.errors import InvalidRequestError
from shared.guardrails import missing
from shared.instants import rfc3339, rfc3339_or_none
from shared.models import JsonObject, Run
from shared.runs.lifecycle import RunStatus
from shared.runs.service import RunRequest

_nothing_is_none = BeforeValidator(lambda value: None if value == "" else value)
OptionalId = Annotated[uuid.UUID | None, _nothing_is_none]


class CreateMessage(BaseModel):
    """What a caller says."""

    role: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    content: Content


class RunOrchestrate(BaseModel):
    """What to run."""

    message: CreateMessage | None = None
    thread_id: OptionalId = None
    agent_id: OptionalId = None
    llm_params: LlmParams | None = None
    guardrails: Guardrails | None = None
    additional_parameters: Annotated[dict[str, Any] | None, UNSERVED] = None

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
    """The ids of a new run; `message_id` is that of the caller's message.

    It is on a thread, but may be found again, by its `Idempotency-Key`, when that was deleted.
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
    status_detail: dict[str, Any] | None

    @classmethod
    def of(cls, run: Run, steps: Sequence[JsonObject] = ()) -> "AssistantRun":
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
            usage=usage_of(run),
            last_error=error,
            error=error,
            result=_result(run, steps),
            guardrails=run.guardrails,
            additional_parameters=run.additional_parameters,
            trace_id=run.id.hex,
            status_detail=run.status_detail,
        )


class RunPage(BaseModel):
    """A slice of all runs; `next_cursor` is where the next one begins."""

    total: int | None
    limit: int
    offset: int
    next_cursor: str | None
    data: list[AssistantRun]


class RunEvent(BaseModel):
    """Something that happened in a run."""

    id: str
    event: str
    data: dict[str, Any]


def _error(run: Run) -> str | None:
    if run.status not in {RunStatus.FAILED, RunStatus.ERROR}:
        return None
    return str((run.status_detail or {}).get("message", run.status))


def _result(run: Run, steps: Sequence[JsonObject]) -> JsonObject | None:
    if run.status is not RunStatus.SUCCEEDED or not isinstance(run.output, dict):
        return None
    message = answer_of(run, run.output, steps, completed_at=rfc3339_or_none(run.completed_at) or "")
    data = {
        "message": message,
        "message_id": message["id"],
        "target_run_id": None,
        "correlation_id": None,
        "flowinstance_id": None,
    }
    return {"type": "message_created", "data": data}
