"""Ollama, at OLLAMA_HOST or on this machine."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import ClassVar

import ollama

from worker.executors.griptape.model_errors import ToldError
from worker.executors.griptape.providers.answer import Answer
from worker.executors.griptape.providers.conversation import Conversation, Role
from worker.executors.griptape.providers.endings import ending
from worker.executors.griptape.providers.frames import DONE, Json, frames
from worker.executors.griptape.providers.setup import STREAM, Provider, Setup, chosen, inner, objects


class OllamaClient(ollama.Client):
    """The library's client, which gives answers as they come over the wire."""

    @property
    def address(self) -> str:
        return str(self._client.base_url)

    @contextmanager
    def ask(self, request: Json) -> Iterator[Iterable[bytes]]:
        """Send a request; gives the bytes of the answer."""
        with self._client.stream("POST", "/api/chat", json=request) as response:
            yield response.iter_bytes()


class Ollama(Provider):
    """Chat, one JSON object a line."""

    OPTIONAL: ClassVar = frozenset({STREAM, "thinking"})

    def __init__(self, setup: Setup, client: OllamaClient) -> None:
        super().__init__(setup)
        self._client = client

    @property
    def address(self) -> str:
        return self._client.address

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {"model": self.model, "messages": list(_messages(asked, without))}
        if options := chosen(self.parameters, without):
            request["options"] = options
        if asked.tools:
            request["tools"] = [tool.as_function() for tool in asked.tools]
        return request

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        with self._client.ask({**request, "stream": stream}) as parts:
            yield frames(parts)

    def read(self, frame: Json, answer: Answer) -> None:
        if frame is DONE:
            answer.is_over = True
            return
        if frame.get("error"):
            raise ToldError(frame, HTTPStatus.INTERNAL_SERVER_ERROR)
        answer.has_come = answer.has_come or bool(inner(frame, "message") or frame.get("done"))
        message = inner(frame, "message")
        answer.thought(message.get("thinking"))
        answer.text(message.get("content"))
        for given in objects(message.get("tool_calls")):
            function = inner(given, "function")
            index = len(answer.calls)  # each is whole
            answer.call(
                ("whole", index),
                call_id=given.get("id"),
                name=function.get("name"),
                arguments=function.get("arguments"),
            )
        answer.count(asked=frame.get("prompt_eval_count"), answered=frame.get("eval_count"))
        if frame.get("done"):
            answer.end(ending(frame.get("done_reason") or "stop"))
            answer.is_over = True

    def finish(self, answer: Answer) -> None:
        answer.echo = "".join(answer.thoughts)


def _messages(asked: Conversation, without: frozenset[str]) -> Iterator[Json]:
    if asked.system:
        yield {"role": "system", "content": asked.system}
    for turn in asked.turns:
        for result in turn.results:
            yield {"role": "tool", "tool_name": result.name, "content": result.text}
        if turn.calls:
            calls = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in turn.calls
            ]
            thinking = {"thinking": turn.echo} if turn.echo and "thinking" not in without else {}
            yield {"role": str(Role.ASSISTANT), "content": turn.text, **thinking, "tool_calls": calls}
        elif turn.text:
            yield {"role": str(turn.role), "content": turn.text}


def build(setup: Setup) -> Ollama:
    """Make the provider, from OLLAMA_HOST and OLLAMA_API_KEY."""
    key = setup.find("OLLAMA_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    client = OllamaClient(headers=headers, **setup.connections.client_options())
    setup.connections.close_at_end(client.close)
    return Ollama(setup, client)


def warm_up() -> None:
    """Nothing: the library imports all at once."""
