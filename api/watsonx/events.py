"""Our stored events in this dialect's vocabulary (contract: watsonx §5): the same event, the same lines."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from api.sse import on_one_line
from api.watsonx.messages import ASSISTANT, answer_of, text_block
from api.watsonx.statuses import EXPIRED
from api.watsonx.steps import CALL, RESPONSE, step_of
from api.watsonx.usage import Tokens, shown_usage, total
from shared.events.log import StoredEvent
from shared.models import FINISH, RUN_COMPLETED, RUN_RUNNING, TEXT_CHUNK, JsonObject, Origin, Run
from shared.runs.lifecycle import RunStatus

ENDS: Final = {
    RunStatus.SUCCEEDED: "run.completed",
    RunStatus.CANCELLED: "run.cancelled",
    RunStatus.FAILED: "run.failed",
    RunStatus.ERROR: "run.failed",
}

Said = list[tuple[str, JsonObject]]


class Translator:
    """Translates the events of one run, which it has to see from the first on.

    All it says comes from the events, and from what never changes of their run: whoever reads them, and
    whenever, is told the same.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._common: JsonObject = {"run_id": run.id, "thread_id": run.thread_id}
        self._agent: JsonObject = {"agent_id": run.assistant_id}
        self._name: str | None = None
        self._output: JsonObject = {}
        self._steps: list[JsonObject] = []
        self._tokens: dict[str, Tokens] = {}
        self._given_up = Tokens()
        self._words: Mapping[tuple[Origin, str], Callable[[StoredEvent], Said]] = {
            (Origin.SYSTEM, "AssistantRunQueued"): self._take_names,
            (Origin.SYSTEM, RUN_RUNNING): self._begin,
            (Origin.ASSISTANT, "StartPromptEvent"): self._ask,
            (Origin.ASSISTANT, TEXT_CHUNK): self._delta,
            (Origin.ASSISTANT, "FinishPromptEvent"): self._count,
            (Origin.ASSISTANT, CALL): self._step,
            (Origin.ASSISTANT, RESPONSE): self._step,
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

    def encoded(self, event: StoredEvent) -> list[bytes]:
        """The same, each as JSON on one line."""
        return [on_one_line(orjson.dumps(one)) for one in self.events(event)]

    def broken_off(self) -> bytes:
        """What a stream may end with that is over before its run; of no event, so that it has no number."""
        name, data = self._intermediate("stream_over", "This stream is over, and not at the end of its run.")
        return on_one_line(orjson.dumps({"id": "0-0", "event": name, "data": data}))

    def _said(self, event: StoredEvent) -> Said:
        say = self._words.get((event.origin, event.type))
        if event.attempt is not None:
            self._common["attempt"] = event.attempt
        return [] if say is None else say(event)

    def _take_names(self, event: StoredEvent) -> Said:
        """Learn what an assistant was called, and which thread there was: both may have changed since."""
        self._name = event.payload.get("name", self._name)
        self._common["thread_id"] = event.payload.get("thread_id", self._common["thread_id"])
        return []

    def _begin(self, event: StoredEvent) -> Said:
        """An attempt begins: what an earlier one did does not count, and its deltas start anew."""
        self._given_up = total({"": self._given_up, **self._tokens})
        self._steps, self._tokens = [], {}
        if "attempt" in event.payload:  # of old, events themselves did not tell it
            self._common["attempt"] = event.payload["attempt"]
        started = {**self._common, **self._agent}
        return [("run.started", started), ("message.started", dict(self._common))]

    def _ask(self, event: StoredEvent) -> Said:
        return [self._intermediate("model_call", f"Asking {event.payload.get('model')}")]

    def _intermediate(self, key: str, text: str) -> tuple[str, JsonObject]:
        message = {"key": key, "text": text}
        agent = {"agent_display_name": self._name, "current_agent": self._name}
        return "run.step.intermediate", {**self._common, **agent, "message": message}

    def _delta(self, event: StoredEvent) -> Said:
        delta = {"role": ASSISTANT, "content": [text_block(str(event.payload.get("token", "")))]}
        return [("message.delta", {**self._common, "delta": delta})]

    def _count(self, event: StoredEvent) -> Said:
        tokens = self._tokens.setdefault(str(event.payload.get("model")), Tokens())
        tokens.prompt += int(event.payload.get("input_token_count") or 0)
        tokens.completion += int(event.payload.get("output_token_count") or 0)
        return []

    def _step(self, event: StoredEvent) -> Said:
        step = step_of(event)
        if self._run.structure_ids:
            self._steps.append(step)
        return [("run.step.delta", {**self._common, "delta": step})]

    def _take_answer(self, event: StoredEvent) -> Said:
        self._output = event.payload.get("output_task_output") or {}
        return []  # the end says when it came

    def _end(self, event: StoredEvent) -> Said:
        status = RunStatus(event.payload["status"])
        detail: dict[str, Any] = event.payload.get("status_detail") or {}
        name = ENDS[status]
        if status is RunStatus.ERROR and detail.get("reason") in EXPIRED:
            name = "run.expired"
        data = {**self._common, **self._agent, "context": {}}
        done = ("done", dict(data))
        if status is RunStatus.SUCCEEDED:
            return [*self._message(event.payload["completed_at"]), (name, data), done]
        return [(name, {**data, "error": detail.get("message", status)}), done]

    def _message(self, completed_at: str) -> Said:
        message = answer_of(self._run, self._output, self._steps, completed_at=completed_at)
        message["thread_id"] = self._common["thread_id"]
        created = {**self._common, **self._agent, "message_id": message["id"], "message": message}
        completed = dict(self._common)
        if self._tokens:
            completed["usage"] = shown_usage(
                self._run, total(self._tokens), self._tokens, given_up=self._given_up
            )
        return [("message.created", created), ("message.completed", completed)]
