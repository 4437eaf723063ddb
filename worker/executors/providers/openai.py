"""OpenAI, and whatever speaks its protocol at OPENAI_BASE_URL."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import openai

from worker.executors.model_errors import ToldError
from worker.executors.providers.answer import Answer
from worker.executors.providers.conversation import Conversation, Role, Turn
from worker.executors.providers.endings import ending
from worker.executors.providers.frames import DONE, Json, frames
from worker.executors.providers.setup import STREAM, Provider, Setup, chosen, inner, objects

NO_KEY: Final = "none"
"""The library insists on a key; a server of one's own may not."""

_REASONING: Final = re.compile(r"o\d|gpt-5")
"""OpenAI's reasoning models take no sampling and no stop sequences, and their limit by another name."""

_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""Where servers put what a model thinks; it goes back under the name it came by."""

_KEPT_OF_CALLS: Final = ("extra_content", "provider_specific_fields", "thought_signature")


def reasons(model: str) -> bool:
    """Whether a model is one of OpenAI's reasoning models, by its name."""
    return _REASONING.match(model) is not None


class OpenAi(Provider):
    """Chat completions."""

    OPTIONAL: ClassVar = frozenset({"stream_options", STREAM, *_THOUGHTS})

    def __init__(self, setup: Setup, client: openai.OpenAI) -> None:
        super().__init__(setup)
        self._client = client

    @property
    def address(self) -> str:
        return str(self._client.base_url)

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {"model": self.model, "messages": list(self._messages(asked, without))}
        if asked.tools:
            request["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.schema,
                    },
                }
                for tool in asked.tools
            ]
        if STREAM not in without:
            request |= chosen({"stream_options": {"include_usage": True}}, without)
        return request | chosen(self.parameters, without)

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        rest = {name: value for name, value in request.items() if name not in {"model", "messages"}}
        create = self._client.chat.completions.with_streaming_response.create
        with create(
            model=request["model"], messages=request["messages"], stream=stream, extra_body=rest
        ) as response:
            yield frames(response.iter_bytes())

    def read(self, frame: Json, answer: Answer) -> None:
        if frame is DONE:
            answer.is_over = answer.has_come = True
            return
        _raise_told(frame)
        _count(inner(frame, "usage") or inner(frame, "x_groq", "usage"), answer)
        for choice in objects(frame.get("choices")):
            if choice.get("index") in (0, None):
                self._read_choice(choice, answer)

    def finish(self, answer: Answer) -> None:
        echo: Json = answer.echo or {}
        if extra := {call.index: call.extra for call in answer.calls if call.extra}:
            echo = {**echo, "calls": extra}
        answer.echo = echo

    def renamed(self, words: str) -> dict[str, str]:
        old, new = _LIMITS
        return {old: new} if new in words and old in self.parameters else {}

    def _read_choice(self, choice: Json, answer: Answer) -> None:
        answer.has_come = True
        _count(inner(choice, "usage"), answer)
        delta = inner(choice, "delta")
        if not (delta or answer.has_begun):  # a whole answer; some servers repeat it at the end of a stream
            delta = inner(choice, "message")
        self._read_content(delta.get("content"), answer)
        answer.text(choice.get("text"))
        answer.refuse(delta.get("refusal"))
        for name in _THOUGHTS:
            if isinstance(thought := delta.get(name), str) and thought:
                answer.thought(thought)
                answer.echo = _longer(answer.echo, name, thought)
                break  # some servers send it under both names
        if isinstance(details := delta.get("reasoning_details"), list):
            known = (answer.echo or {}).get("reasoning_details", [])
            answer.echo = {**(answer.echo or {}), "reasoning_details": [*known, *details]}
        for call in objects(delta.get("tool_calls")):
            self._read_call(call, answer)
        function = inner(delta, "function_call")
        if function and not delta.get("tool_calls"):  # some servers send both forms
            answer.call("function_call", name=function.get("name"), arguments=function.get("arguments"))
        answer.end(_ending(choice, frame_error=inner(choice, "error")))

    @staticmethod
    def _read_content(content: object, answer: Answer) -> None:
        if isinstance(content, str):
            answer.text(content)
        for part in objects(content):
            match part.get("type"):
                case "thinking" | "reasoning":
                    for piece in objects(part.get("thinking")):
                        answer.thought(piece.get("text"))
                    answer.thought(part.get("text"))
                    answer.thought(part.get("thinking"))
                case "refusal":
                    answer.refuse(part.get("refusal"))
                case _:
                    answer.text(part.get("text"))

    @staticmethod
    def _read_call(given: Json, answer: Answer) -> None:
        function = inner(given, "function")
        index = given.get("index")
        call = answer.call(
            index if isinstance(index, int | str) else None,
            call_id=given.get("id"),
            name=function.get("name", given.get("name")),
            arguments=function.get("arguments", given.get("arguments")),
        )
        call.extra |= {name: given[name] for name in _KEPT_OF_CALLS if given.get(name)}

    def _messages(self, asked: Conversation, without: frozenset[str]) -> Iterator[Json]:
        if asked.system:
            yield {"role": "developer" if reasons(self.model) else "system", "content": asked.system}
        for turn in asked.turns:
            for result in turn.results:
                yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
            if turn.calls:
                yield self._calling(turn, without)
            elif turn.text:
                yield {"role": str(turn.role), "content": turn.text}

    @staticmethod
    def _calling(turn: Turn, without: frozenset[str]) -> Json:
        echo = turn.echo or {}
        extra = echo.get("calls", {})
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                **extra.get(number, {}),
            }
            for number, call in enumerate(turn.calls, 1)
        ]
        thoughts = {name: value for name, value in echo.items() if name != "calls" and name not in without}
        content = {"content": turn.text or None}
        return {"role": str(Role.ASSISTANT), **content, "tool_calls": calls, **thoughts}


def _count(usage: Json, answer: Answer) -> None:
    answer.count(asked=usage.get("prompt_tokens"), answered=usage.get("completion_tokens"))


def _longer(echo: Any, name: str, text: str) -> Json:
    known = echo or {}
    return {**known, name: known.get(name, "") + text}


def _ending(choice: Json, frame_error: Json) -> Any:
    if frame_error:
        raise ToldError({"error": frame_error})
    return ending(choice.get("finish_reason"))


def _raise_told(frame: Json) -> None:
    """Raise what a server tells of an error, in any of the shapes it does that in."""
    if frame.get("error"):
        raise ToldError(frame)
    if frame.get("object") == "error" or (frame.get("type") == "error" and "choices" not in frame):
        raise ToldError(frame)
    if "choices" not in frame and ("detail" in frame or ("message" in frame and "code" in frame)):
        raise ToldError(frame)


def client_of(setup: Setup, base_url: str | None) -> openai.OpenAI:
    key = setup.find("OPENAI_API_KEY") if base_url else setup.require("OPENAI_API_KEY")
    return openai.OpenAI(
        api_key=key or NO_KEY,
        organization=setup.find("OPENAI_ORG_ID"),
        project=setup.find("OPENAI_PROJECT_ID"),
        base_url=base_url,
        http_client=setup.connections.http_client(),
        max_retries=0,  # ModelDriver's business
    )


def build(setup: Setup) -> OpenAi:
    """Make the provider, from OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID."""
    return OpenAi(setup, client_of(setup, setup.find("OPENAI_BASE_URL")))


def warm_up() -> None:
    """Make the library import what it leaves for its first use."""
    with openai.OpenAI(api_key=NO_KEY, base_url="http://127.0.0.1") as client:
        _ = client.chat.completions.with_streaming_response
