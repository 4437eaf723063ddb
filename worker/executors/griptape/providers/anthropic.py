"""Anthropic, and whatever speaks its protocol at ANTHROPIC_BASE_URL."""

import importlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final

import anthropic

from worker.executors.griptape.model_errors import ToldError
from worker.executors.griptape.providers.answer import Answer
from worker.executors.griptape.providers.conversation import Conversation, Role, Turn
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
from worker.executors.griptape.refused_parameters import THOUGHTS

_MOST_TOKENS: Final = re.compile(r"max_tokens\D{0,20}\d{1,9}\s*>\s*(\d{1,9})\b")
_BEYOND_WINDOW: Final = re.compile(r"\b(\d{1,9})\s*\+\s*\d{1,9}\s*>\s*(\d{1,9})\b")
"""How a conversation is refused that fits into the window, but not together with the longest answer."""
_FOUND_LATER: Final = (
    "opentelemetry.baggage.propagation",
    "opentelemetry.propagate",
    "opentelemetry.propagators.composite",
    "opentelemetry.trace.propagation.tracecontext",
)
"""What the library imports with its first request, if it is installed."""

_CALL: Final = "call"
"""The type of a block that stands for one of the answer's calls."""

_PASSED_OVER: Final = "passed over"
"""The type of a block that is the server's own, such as the call of a tool that it runs itself."""

_THOUGHTS: Final = ("thinking", "redacted_thinking")
_LEAST_LEFT: Final = 1_024  # tokens of an answer, without which less of the conversation is to be sent


class Anthropic(Provider):
    """Messages."""

    OPTIONAL: ClassVar = frozenset({STREAM, THOUGHTS})

    def __init__(self, setup: Setup, client: anthropic.Anthropic) -> None:
        super().__init__(setup)
        self._client = client
        self.max_tokens = self.limits.output

    @property
    def address(self) -> str:
        return str(self._client.base_url)

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [
                {"role": str(turn.role), "content": _content(turn, without)} for turn in asked.turns
            ],
        }
        if asked.system:
            request["system"] = asked.system
        if tools := asked.tools or asked.barred:
            request["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
                for tool in tools
            ]
        if asked.barred:  # calls that were made are refused without the tools they are of
            request["tool_choice"] = {"type": "none"}
        return request | chosen(self.parameters, without)

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        named = {"model", "messages", "max_tokens"}
        rest = {name: value for name, value in request.items() if name not in named}
        create = self._client.messages.with_streaming_response.create
        with create(
            model=request["model"],
            messages=request["messages"],
            max_tokens=request["max_tokens"],
            stream=stream,
            extra_body=rest,
            timeout=None,  # the connections have their own; the library would refuse long answers
        ) as response:
            yield frames(response.iter_bytes())

    def read(self, frame: Json, answer: Answer) -> None:  # a case for each type of event
        match frame.get("type"):
            case "error":
                raise ToldError(frame)
            case "message_start":
                answer.has_come = True
                answer.echo = {}
                self._count(inner(frame, "message", "usage"), answer)
                for block in objects(inner(frame, "message").get("content")):
                    self._open(None, block, answer)
            case "message":  # whole, since no stream was asked for or given
                answer.has_come = True
                self._count(inner(frame, "usage"), answer)
                for index, block in enumerate(objects(frame.get("content"))):
                    self._open(index, block, answer)
                self._end(frame, answer)
                answer.is_over = True
            case "content_block_start":
                answer.has_come = True
                self._open(place(frame.get("index")), inner(frame, "content_block"), answer)
            case "content_block_delta":
                answer.has_come = True
                self._add(place(frame.get("index")), inner(frame, "delta"), answer)
            case "message_delta":
                self._count(inner(frame, "usage"), answer)
                self._end(inner(frame, "delta"), answer)
            case "message_stop":
                answer.is_over = answer.has_come = True
            case _ if frame is DONE:
                answer.is_over = True
            case _ if frame.get("error"):
                raise ToldError(frame)

    def finish(self, answer: Answer) -> None:
        places = answer.places
        blocks: list[Json] = []
        for block in (answer.echo or {}).values():
            kind = block["type"]
            if kind in {"text", "thinking"}:
                blocks.append(
                    {name: value if name == "type" else "".join(value) for name, value in block.items()}
                )
            elif kind == _CALL and block["number"] in places:
                blocks.append({**block, "number": places[block["number"]]})
            elif kind not in {_CALL, _PASSED_OVER}:
                blocks.append(block)
        thinks = any(block["type"] in _THOUGHTS for block in blocks)
        answer.echo = blocks if thinks else None

    def renamed(self, words: str) -> dict[str, str]:
        """The limit it may have, which it tells of one that is too high."""
        limit = None
        if found := _MOST_TOKENS.search(words):
            limit = int(found[1])
        elif found := _BEYOND_WINDOW.search(words):
            limit = int(found[2]) - int(found[1])
        if limit is None or not _LEAST_LEFT <= limit < self.parameters.get("max_tokens", self.max_tokens):
            return {}
        self.max_tokens = limit
        self.parameters.pop("max_tokens", None)
        return {"max_tokens": "max_tokens"}

    def _open(self, index: Any, block: Json, answer: Answer) -> None:
        blocks: dict[Any, Json] = answer.echo if isinstance(answer.echo, dict) else {}
        answer.echo = blocks
        key = len(blocks) if index is None else index
        answer.keep(block)
        match block.get("type"):
            case "tool_use":
                given = block.get("input") or None
                call = answer.call(
                    ("block", key), call_id=block.get("id"), name=block.get("name"), arguments=given
                )
                blocks[key] = {"type": _CALL, "number": call.index}
            case "thinking":
                blocks[key] = {"type": "thinking", "thinking": [], "signature": []}
                answer.thought(block.get("thinking"))
                _lengthen(blocks[key], "thinking", block.get("thinking"))
                _lengthen(blocks[key], "signature", block.get("signature"))
            case "redacted_thinking":
                blocks[key] = dict(block)
            case "text":
                blocks[key] = {"type": "text", "text": []}
                answer.text(block.get("text"))
                _lengthen(blocks[key], "text", block.get("text"))
            case _:
                blocks[key] = {"type": _PASSED_OVER}

    def _add(self, index: Any, delta: Json, answer: Answer) -> None:
        blocks: dict[Any, Json] = answer.echo if isinstance(answer.echo, dict) else {}
        answer.echo = blocks
        index = next(reversed(blocks), None) if index is None else index
        block = blocks.get(index)
        match delta.get("type"):
            case "text_delta":
                if block is None:
                    block = blocks[index] = answer.keep({"type": "text", "text": []})
                answer.text(delta.get("text"))
                _lengthen(block, "text", delta.get("text"))
            case "thinking_delta":
                answer.thought(delta.get("thinking"))
                _lengthen(block, "thinking", delta.get("thinking"))
            case "signature_delta":
                _lengthen(block, "signature", answer.keep(delta.get("signature")))
            case "input_json_delta" if block is None or block["type"] == _CALL:
                answer.call(("block", index), arguments=delta.get("partial_json"))

    @staticmethod
    def _count(usage: Json, answer: Answer) -> None:
        asked = usage.get("input_tokens")
        if isinstance(asked, int):
            cached = (usage.get(f"cache_{kind}_input_tokens") for kind in ("read", "creation"))
            asked += sum(count for count in cached if isinstance(count, int))
            if asked == 0 and answer.input_tokens:
                asked = None  # a compatible server that counts only once
        answer.count(asked=asked, answered=usage.get("output_tokens"))

    @staticmethod
    def _end(source: Json, answer: Answer) -> None:
        answer.end(ending(source.get("stop_reason")))
        answer.refuse(inner(source, "stop_details").get("explanation"))


def _lengthen(block: Json | None, name: str, text: object) -> None:
    if block is not None and isinstance(text, str) and isinstance(block.get(name), list):
        block[name].append(text)


def _content(turn: Turn, without: frozenset[str]) -> str | list[Json]:
    if not (turn.calls or turn.results):
        return turn.text
    results = [
        {
            "type": "tool_result",
            "tool_use_id": result.id,
            "content": result.text,
            "is_error": result.is_error,
        }
        for result in turn.results
    ]
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in turn.calls
    ]
    if turn.role is Role.ASSISTANT and turn.echo:
        as_it_came = (  # what was thought is signed together with the order
            calls[block["number"] - 1] if block["type"] == _CALL else block
            for block in turn.echo
            if block["type"] != "text" or block["text"].strip()
        )
        return [block for block in as_it_came if THOUGHTS not in without or block["type"] not in _THOUGHTS]
    text = [{"type": "text", "text": turn.text}] if turn.text else []
    return [*results, *text, *calls]


def build(setup: Setup) -> Anthropic:
    """Make the provider, from ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, and ANTHROPIC_BASE_URL."""
    setup.require("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    client = anthropic.Anthropic(
        api_key=setup.find("ANTHROPIC_API_KEY"),
        auth_token=setup.find("ANTHROPIC_AUTH_TOKEN"),
        http_client=setup.connections.http_client(),
        max_retries=0,  # ModelDriver's business
    )
    return Anthropic(setup, client)


def warm_up() -> None:
    """Make the library import what it leaves for its first use."""
    with anthropic.Anthropic(api_key="none", base_url="http://127.0.0.1") as client:
        _ = client.messages.with_streaming_response
    for name in _FOUND_LATER:
        with suppress(ImportError):
            importlib.import_module(name)
