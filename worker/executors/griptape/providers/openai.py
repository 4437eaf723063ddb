"""OpenAI, and whatever speaks its protocol at OPENAI_BASE_URL."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, ClassVar, Final

import openai

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
from worker.executors.griptape.refused_parameters import CALLS_WITHOUT_TOOLS, WORDS_AFTER_RESULTS

NO_KEY: Final = "none"
"""The library insists on a key; a server of one's own may not."""

_REASONING: Final = re.compile(r"o\d|gpt-5")
"""OpenAI's reasoning models take no sampling and no stop sequences, and their limit by another name."""

_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""Where servers put what a model thinks; it goes back under the name it came by."""

_DETAILS: Final = "reasoning_details"
_PIECES_OF_DETAILS: Final = ("text", "summary", "data", "signature")
_KEPT_OF_CALLS: Final = ("extra_content", "provider_specific_fields", "thought_signature")


def reasons(model: str) -> bool:
    """Whether a model is one of OpenAI's reasoning models, by its name."""
    return _REASONING.match(model) is not None


class OpenAi(Provider):
    """Chat completions."""

    OPTIONAL: ClassVar = frozenset(
        {
            *("stream_options", STREAM, CALLS_WITHOUT_TOOLS, WORDS_AFTER_RESULTS),
            *(*_THOUGHTS, _DETAILS, *_KEPT_OF_CALLS),
        }
    )

    def __init__(self, setup: Setup, client: openai.OpenAI) -> None:
        super().__init__(setup)
        self._client = client

    @property
    def address(self) -> str:
        return str(self._client.base_url)

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {"model": self.model, "messages": list(self._messages(asked, without))}
        kept = asked.barred if CALLS_WITHOUT_TOOLS in without else []
        if kept:
            request["tool_choice"] = "none"
        if tools := asked.tools or kept:
            request["tools"] = [tool.as_function() for tool in tools]
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
        is_error = frame.get("error") or frame.get("object") == "error"
        if "choices" not in frame:
            is_error = is_error or frame.get("type") == "error" or "detail" in frame
            is_error = is_error or ("message" in frame and "code" in frame)
        if is_error:
            raise ToldError(frame)
        _count(inner(frame, "usage") or inner(frame, "x_groq", "usage"), answer)
        for choice in objects(frame.get("choices")):
            if choice.get("index") in (0, None):
                self._read_choice(choice, answer)
        if isinstance(told := inner(frame, "x_groq").get("error"), str) and told:
            raise ToldError({"error": {"message": told}}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def finish(self, answer: Answer) -> None:
        pieces: dict[str, list[Any]] = answer.echo or {}
        echo: Json = {
            name: _joined(given) if name == _DETAILS else "".join(given) for name, given in pieces.items()
        }
        if extra := {place: call.extra for place, call in enumerate(answer.calls, 1) if call.extra}:
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
        self._read_thoughts(delta, answer)
        for given in objects(delta.get("tool_calls")):
            named = inner(given, "function")
            call = answer.call(
                place(given.get("index")),
                call_id=given.get("id"),
                name=named.get("name", given.get("name")),
                arguments=named.get("arguments", given.get("arguments")),
            )
            call.extra |= {name: answer.keep(given[name]) for name in _KEPT_OF_CALLS if given.get(name)}
        function = inner(delta, "function_call")
        if function and not delta.get("tool_calls"):  # some servers send both forms
            answer.call("function_call", name=function.get("name"), arguments=function.get("arguments"))
        if told := inner(choice, "error"):
            raise ToldError({"error": told})
        answer.end(ending(choice.get("finish_reason") or choice.get("finishReason")))

    @staticmethod
    def _read_thoughts(delta: Json, answer: Answer) -> None:
        """Note what a model thought, and that it thought nothing: it is asked back in either case."""
        echo: dict[str, list[Any]] = answer.echo or {}
        answer.echo = echo
        given = [name for name in _THOUGHTS if isinstance(delta.get(name), str)]
        name = next((each for each in given if delta[each]), None)  # some send it under both names
        if name:
            answer.thought(delta[name])
            echo.setdefault(name, []).append(delta[name])
        for each in given if not (name or echo) else []:
            echo[each] = []
        if details := list(objects(delta.get(_DETAILS))):
            echo.setdefault(_DETAILS, []).extend(answer.keep(details))

    @staticmethod
    def _read_content(content: object, answer: Answer) -> None:
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str):
                answer.text(part)
            elif isinstance(part, int | float) and not isinstance(part, bool):
                answer.text(str(part))  # of a server that takes a figure for a number
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
                    answer.text(inner(part, "text").get("value") or part.get("text"))

    @staticmethod
    def _messages(asked: Conversation, without: frozenset[str]) -> Iterator[Json]:
        if asked.system:
            yield {"role": "system", "content": asked.system}
        for turn in asked.turns:
            results = [
                {"role": "tool", "tool_call_id": result.id, "content": result.text} for result in turn.results
            ]
            if turn.text and results and WORDS_AFTER_RESULTS in without:
                results[-1]["content"] += f"\n\n{turn.text}"
                yield from results
                continue
            yield from results
            if turn.calls:
                echo = turn.echo or {}
                extra = echo.get("calls", {})
                calls = [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                        **chosen(extra.get(number, {}), without),
                    }
                    for number, call in enumerate(turn.calls, 1)
                ]
                thoughts = {name: echo[name] for name in echo if name != "calls" and name not in without}
                content = {"content": turn.text or None}
                yield {"role": str(Role.ASSISTANT), **content, "tool_calls": calls, **thoughts}
            elif turn.text:
                yield {"role": str(turn.role), "content": turn.text}


def _count(usage: Json, answer: Answer) -> None:
    answer.count(asked=usage.get("prompt_tokens"), answered=usage.get("completion_tokens"))


def _joined(details: list[Json]) -> list[Json]:
    """Details of what was thought, those together again that came in pieces."""
    joined: list[Json] = []
    for detail in details:
        last = joined[-1] if joined else {}
        if not all(last.get(name) == detail.get(name) for name in ("type", "index")) or "type" not in detail:
            joined.append(dict(detail))
            continue
        for name, value in detail.items():
            known = last.get(name)
            is_piece = name in _PIECES_OF_DETAILS and isinstance(known, str) and isinstance(value, str)
            last[name] = (
                known + value if is_piece and known is not None else value if known is None else known
            )
    return joined


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
