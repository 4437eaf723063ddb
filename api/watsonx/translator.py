"""The translator of stored events into this dialect's events."""

from copy import copy
from typing import Any, Final

import orjson

from api.streaming.batch import Batch
from api.streaming.sse import on_one_line
from api.watsonx import steps
from api.watsonx.statuses import EXPIRED
from api.watsonx.thread_message_schemas import ASSISTANT, answer_of, text_block
from api.watsonx.usage import shown_usage
from shared.events.log import StoredEvent
from shared.events.usage import Usage, UsageSum
from shared.lifecycle import EventType, RunStatus
from shared.models import JsonObject, Origin, Run

ENDS: Final = {
    RunStatus.SUCCEEDED: "run.completed",
    RunStatus.CANCELLED: "run.cancelled",
    RunStatus.FAILED: "run.failed",
    RunStatus.ERROR: "run.failed",
}

Lines = list[tuple[str, JsonObject]]


class Translator:
    """Translates the events of one run, which it has to see from the first on.

    Its lines follow from the events, and from facts of the run that never change. So every reader gets the
    same lines, at any time.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._common: JsonObject = {"run_id": run.id, "thread_id": run.thread_id}
        self._agent: JsonObject = {"agent_id": run.assistant_id}
        self._name: str | None = None
        self._output: JsonObject = {}
        self._steps: list[JsonObject] = []
        self._tokens = UsageSum()
        self._given_up = Usage()

    def events(self, event: StoredEvent) -> list[JsonObject]:
        """An event as events of this dialect; none if the dialect has no word for it."""
        if event.attempt is not None:
            self._common["attempt"] = event.attempt
        milliseconds = int(event.created_at.timestamp() * 1000)
        return [
            {"id": f"{milliseconds}-{event.seq * 10 + number}", "event": name, "data": data}
            for number, (name, data) in enumerate(self._lines(event))
        ]

    def encoded(self, event: StoredEvent) -> list[bytes]:
        """The same, each as JSON on one line."""
        return [on_one_line(orjson.dumps(one)) for one in self.events(event)]

    def translated(self, batch: Batch) -> list[bytes]:
        """The same for a batch. Readers of a run share the work: the first one's lines serve the others."""
        if not batch.is_whole:
            return [line for event in batch for line in self.encoded(event)]
        form: tuple[list[bytes], Translator] | None = batch.forms.get(Translator)
        if form is None:
            form = [line for event in batch for line in self.encoded(event)], self._copy()
            batch.forms[Translator] = form
        else:
            vars(self).update(vars(form[1]._copy()))  # noqa: SLF001  # of this class
        return form[0]

    def _copy(self) -> "Translator":
        twin = copy(self)
        twin._common, twin._steps = dict(self._common), list(self._steps)  # noqa: SLF001  # of this class
        twin._tokens = UsageSum()  # noqa: SLF001  # of this class
        for model, usage in self._tokens.by_model.items():
            twin._tokens.add(model, usage)  # noqa: SLF001  # of this class
        return twin

    def broken_off(self) -> bytes:
        """The last line of a stream that ends before its run. It belongs to no event, so it has no number."""
        name, data = self._intermediate("stream_over", "This stream is over, and not at the end of its run.")
        return on_one_line(orjson.dumps({"id": "0-0", "event": name, "data": data}))

    def _lines(self, event: StoredEvent) -> Lines:
        """The name and the data of each event that `events` makes."""
        payload = event.payload
        match event.origin, event.type:
            case Origin.SYSTEM, EventType.ASSISTANT_QUEUED:
                # The name of the assistant and the thread of the run may have changed since.
                self._name = payload.get("name", self._name)
                self._common["thread_id"] = payload.get("thread_id", self._common["thread_id"])
            case Origin.SYSTEM, EventType.ASSISTANT_RUNNING:
                return self._on_running(event)
            case Origin.ASSISTANT, "StartPromptEvent":
                return [self._intermediate("model_call", f"Asking {payload.get('model')}")]
            case Origin.ASSISTANT, EventType.TEXT_CHUNK:
                content = [text_block(str(payload.get("token", "")))]
                delta: JsonObject = {"role": ASSISTANT, "content": content}
                return [("message.delta", {**self._common, "delta": delta})]
            case Origin.ASSISTANT, "FinishPromptEvent":
                self._tokens.count(payload)
            case Origin.ASSISTANT, steps.CALL | steps.RESPONSE:
                step = steps.step_of(event)
                if self._run.structure_ids:
                    self._steps.append(step)
                return [("run.step.delta", {**self._common, "delta": step})]
            case Origin.ASSISTANT, EventType.FINISH:
                output = payload.get("output_task_output") or {}  # the end says when it came
                self._output = output if isinstance(output, dict) else {"value": output}
            case Origin.SYSTEM, EventType.ASSISTANT_COMPLETED:
                return self._on_completed(event)
        return []

    def _on_running(self, event: StoredEvent) -> Lines:
        """An attempt begins: what an earlier one did does not count, and its deltas start anew."""
        self._given_up += self._tokens.total
        self._steps, self._tokens = [], UsageSum()
        if "attempt" in event.payload:  # of old, events themselves did not tell it
            self._common["attempt"] = event.payload["attempt"]
        started = {**self._common, **self._agent}
        return [("run.started", started), ("message.started", dict(self._common))]

    def _intermediate(self, key: str, text: str) -> tuple[str, JsonObject]:
        message = {"key": key, "text": text}
        agent = {"agent_display_name": self._name, "current_agent": self._name}
        return "run.step.intermediate", {**self._common, **agent, "message": message}

    def _on_completed(self, event: StoredEvent) -> Lines:
        status = RunStatus(event.payload["status"])
        detail: dict[str, Any] = event.payload.get("status_detail") or {}
        name = ENDS[status]
        if status is RunStatus.ERROR and detail.get("reason") in EXPIRED:
            name = "run.expired"
        data = {**self._common, **self._agent, "context": {}}
        done = ("done", dict(data))
        if status is not RunStatus.SUCCEEDED:
            return [(name, {**data, "error": detail.get("message", status)}), done]
        completed_at = event.payload["completed_at"]
        message = answer_of(self._run, self._output, self._steps, completed_at=completed_at)
        message["thread_id"] = self._common["thread_id"]
        created = {**self._common, **self._agent, "message_id": message["id"], "message": message}
        completed = dict(self._common)
        if self._tokens.by_model:
            completed["usage"] = shown_usage(
                self._run, self._tokens.total, self._tokens.by_model, given_up=self._given_up
            )
        return [("message.created", created), ("message.completed", completed), (name, data), done]
