"""Cohere."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import ClassVar, Final

import cohere
import httpx

from worker.executors.griptape.model_errors import ToldError
from worker.executors.griptape.providers.answer import Answer
from worker.executors.griptape.providers.conversation import Conversation, Role
from worker.executors.griptape.providers.endings import ending
from worker.executors.griptape.providers.frames import DONE, Json, frames
from worker.executors.griptape.providers.setup import (
    STREAM,
    Provider,
    Setup,
    chosen,
    inner,
    objects,
    place,
)

_NO_RETRIES: Final = 0  # ModelDriver's business


class CohereClient(cohere.ClientV2):
    """The library's client, which gives answers as they come over the wire."""

    @property
    def address(self) -> str:
        return str(self._client_wrapper.get_base_url())

    @contextmanager
    def ask(self, request: Json) -> Iterator[Iterable[bytes]]:
        """Send a request; gives the bytes of the answer."""
        with self._client_wrapper.httpx_client.stream(
            "v2/chat",
            method="POST",
            json=request,
            headers={"content-type": "application/json"},
            request_options={"max_retries": _NO_RETRIES},
            omit=None,
        ) as response:
            yield response.iter_bytes()


class Cohere(Provider):
    """Chat, version 2."""

    OPTIONAL: ClassVar = frozenset({STREAM})

    def __init__(self, setup: Setup, client: CohereClient) -> None:
        super().__init__(setup)
        self._client = client

    @property
    def address(self) -> str:
        return self._client.address

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {"model": self.model, "messages": list(_messages(asked))}
        if asked.tools:
            request["tools"] = [tool.as_function() for tool in asked.tools]
        return request | chosen(self.parameters, without)

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        with self._client.ask({**request, "stream": stream}) as parts:
            yield frames(parts)

    def read(self, frame: Json, answer: Answer) -> None:  # a case for each type of event
        message = inner(frame, "delta", "message")
        match frame.get("type"):
            case "content-start" | "content-delta":
                answer.has_come = True
                for content in objects(message.get("content")):
                    answer.thought(content.get("thinking"))
                    answer.text(content.get("text"))
            case "tool-plan-delta":
                answer.has_come = True
                answer.text(message.get("tool_plan"))
            case "tool-call-start" | "tool-call-delta":
                answer.has_come = True
                for call in objects(message.get("tool_calls")):
                    self._read_call(place(frame.get("index")), call, answer)
            case "message-start":
                answer.has_come = True
            case "message-end":
                delta = inner(frame, "delta")
                if delta.get("error"):
                    raise ToldError({"error": delta["error"]}, HTTPStatus.INTERNAL_SERVER_ERROR)
                self._end(delta, answer)
            case None if isinstance(frame.get("message"), dict):  # whole, since no stream was asked for
                self._read_whole(frame, answer)
            case _ if frame is DONE:
                answer.is_over = True
            case _ if frame.get("type") == "error" or frame.get("error") or "message" in frame:
                raise ToldError(frame)

    def finish(self, answer: Answer) -> None:
        answer.echo = "".join(answer.thoughts)

    def _read_whole(self, frame: Json, answer: Answer) -> None:
        answer.has_come = True
        message = inner(frame, "message")
        for part in objects(message.get("content")):
            answer.thought(part.get("thinking"))
            answer.text(part.get("text"))
        answer.text(message.get("tool_plan"))
        for index, call in enumerate(objects(message.get("tool_calls"))):
            self._read_call(index, call, answer)
        self._end(frame, answer)

    @staticmethod
    def _read_call(index: object, call: Json, answer: Answer) -> None:
        function = inner(call, "function")
        answer.call(
            index, call_id=call.get("id"), name=function.get("name"), arguments=function.get("arguments")
        )

    @staticmethod
    def _end(source: Json, answer: Answer) -> None:
        usage = inner(source, "usage", "tokens") or inner(source, "usage", "billed_units")
        answer.count(asked=usage.get("input_tokens"), answered=usage.get("output_tokens"))
        answer.end(ending(source.get("finish_reason")))
        answer.is_over = answer.has_come = True


def _messages(asked: Conversation) -> Iterator[Json]:
    if asked.system:
        yield {"role": "system", "content": asked.system}
    for turn in asked.turns:
        for result in turn.results:
            yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
        if turn.calls:
            calls = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in turn.calls
            ]
            plan = {"tool_plan": turn.text} if turn.text else {}
            thoughts = {"content": [{"type": "thinking", "thinking": turn.echo}]} if turn.echo else {}
            yield {"role": str(Role.ASSISTANT), **thoughts, **plan, "tool_calls": calls}
        elif turn.text:
            yield {"role": str(turn.role), "content": turn.text}


def build(setup: Setup) -> Cohere:
    """Make the provider, from COHERE_API_KEY or CO_API_KEY, and CO_API_URL."""
    key = setup.require("COHERE_API_KEY", "CO_API_KEY")
    http_client = httpx.Client(**setup.connections.client_options())
    setup.connections.close_at_end(http_client.close)
    client = CohereClient(
        key,
        base_url=setup.find("CO_API_URL"),
        httpx_client=http_client,
        max_retries=_NO_RETRIES,
        log_warning_experimental_features=False,
    )
    return Cohere(setup, client)


def warm_up() -> None:
    """Nothing: the library's client is all that is used."""
