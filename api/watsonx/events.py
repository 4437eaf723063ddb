"""Our stored events in this dialect's vocabulary (contract: watsonx §5): the same event, the same lines."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from api.watsonx.messages import ASSISTANT, answer_of, text_block
from shared.events.log import StoredEvent
from shared.models import FINISH, RUN_COMPLETED, JsonObject, Origin, Run
from shared.runs.lifecycle import Reason, RunStatus

ENDS = {
    RunStatus.SUCCEEDED: "run.completed",
    RunStatus.CANCELLED: "run.cancelled",
    RunStatus.FAILED: "run.failed",
    RunStatus.ERROR: "run.failed",
}
EXPIRED = frozenset({Reason.EXPIRED, Reason.TIMED_OUT})
"""Reasons of an ERROR that this dialect calls expired."""


class Translator:
    """Translates the events of one run, which it has to see from the first on."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._common: JsonObject = {"run_id": run.id, "thread_id": run.thread_id}
        self._agent: JsonObject = {"agent_id": run.assistant_id}
        self._output: JsonObject = {}
        self._words: Mapping[tuple[Origin, str], Callable[[JsonObject], list[tuple[str, JsonObject]]]] = {
            (Origin.SYSTEM, "AssistantRunRunning"): self._begin,
            (Origin.ASSISTANT, "TextChunkEvent"): self._delta,
            (Origin.ASSISTANT, "StartActionsSubtaskEvent"): self._call,
            (Origin.ASSISTANT, "FinishActionsSubtaskEvent"): self._response,
            (Origin.ASSISTANT, FINISH): self._take_answer,
            (Origin.SYSTEM, RUN_COMPLETED): self._end,
        }

    def events(self, event: StoredEvent) -> list[JsonObject]:
        """The events that one of ours is here; none if there is no word for it."""
        milliseconds = int(event.created_at.timestamp() * 1000)
        return [
            {"id": f"{milliseconds}-{event.seq * 10 + number}", "event": name, "data": data}
            for number, (name, data) in enumerate(self._said(event))
        ]

    def lines(self, event: StoredEvent) -> bytes:
        """The same as lines of JSON."""
        return b"".join(orjson.dumps(one) + b"\n" for one in self.events(event))

    def _said(self, event: StoredEvent) -> list[tuple[str, JsonObject]]:
        say = self._words.get((event.origin, event.type))
        return [] if say is None else say(event.payload)

    def _begin(self, _payload: JsonObject) -> list[tuple[str, JsonObject]]:
        started = {**self._common, **self._agent}
        return [("run.started", started), ("message.started", dict(self._common))]

    def _delta(self, payload: JsonObject) -> list[tuple[str, JsonObject]]:
        delta = {"role": ASSISTANT, "content": [text_block(str(payload.get("token", "")))]}
        return [("message.delta", {**self._common, "delta": delta})]

    def _call(self, payload: JsonObject) -> list[tuple[str, JsonObject]]:
        return [("run.step.delta", self._step(_calls(payload)))]

    def _response(self, payload: JsonObject) -> list[tuple[str, JsonObject]]:
        return [("run.step.delta", self._step(_responses(payload)))]

    def _step(self, details: list[JsonObject]) -> JsonObject:
        return {**self._common, "delta": {"role": ASSISTANT, "step_details": details}}

    def _take_answer(self, payload: JsonObject) -> list[tuple[str, JsonObject]]:
        self._output = payload.get("output_task_output") or {}
        return []  # the end says when it came

    def _end(self, payload: JsonObject) -> list[tuple[str, JsonObject]]:
        status = RunStatus(payload["status"])
        detail: dict[str, Any] = payload.get("status_detail") or {}
        name = ENDS[status]
        if status is RunStatus.ERROR and detail.get("reason") in EXPIRED:
            name = "run.expired"
        data = {**self._common, **self._agent, "context": {}}
        done = ("done", dict(data))
        if status is RunStatus.SUCCEEDED:
            return [*self._message(payload["completed_at"]), (name, data), done]
        return [(name, {**data, "error": detail.get("message", status)}), done]

    def _message(self, completed_at: str) -> list[tuple[str, JsonObject]]:
        message = answer_of(self._run, self._output, completed_at=completed_at)
        created = {**self._common, **self._agent, "message_id": message["id"], "message": message}
        return [("message.created", created), ("message.completed", dict(self._common))]


def _calls(payload: JsonObject) -> list[JsonObject]:
    calls = [
        {"id": action.get("tag"), "name": action.get("name"), "args": action.get("input") or {}}
        for action in payload.get("subtask_actions") or []
        if isinstance(action, dict)
    ]
    return [{"type": "tool_calls", "tool_calls": calls}]


def _responses(payload: JsonObject) -> list[JsonObject]:
    actions = [action for action in payload.get("subtask_actions") or [] if isinstance(action, dict)]
    return [
        {
            "type": "tool_response",
            "name": action.get("name"),
            "content": content,
            "tool_call_id": action.get("tag"),
        }
        for action, content in zip(actions, _contents(payload, len(actions)), strict=True)
    ]


def _contents(payload: JsonObject, count: int) -> list[str]:
    """What each of so many calls has given, as text; an error that is told of all at once is that of each."""
    output = _value(payload.get("task_output"))
    values = [_value(one) for one in output] if isinstance(output, list) else []
    if len(values) != count:
        values = [output] * count
    return [value if isinstance(value, str) else orjson.dumps(value).decode() for value in values]


def _value(artifact: object) -> object:
    return artifact.get("value") if isinstance(artifact, dict) else None
