"""Amazon Bedrock, with boto3 over the run's own connections."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from typing import Any, ClassVar, Final

import boto3
import httpx2
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import EventStreamError

from worker.executors.base import InvalidConfigurationError
from worker.executors.griptape.model_errors import ToldError
from worker.executors.griptape.providers.answer import Answer
from worker.executors.griptape.providers.conversation import Conversation, Role, Turn
from worker.executors.griptape.providers.endings import ending
from worker.executors.griptape.providers.frames import Json, bounded
from worker.executors.griptape.providers.setup import (
    STREAM,
    Provider,
    Setup,
    chosen,
    inner,
    objects,
    place,
)
from worker.executors.griptape.refused_parameters import THOUGHTS, WORDS_BESIDE_CALLS

_REDACTED: Final = "redactedContent"
"""Where the bytes are that stand for what was thought in secret."""


class _Body:
    """A response as boto3 reads one of its own."""

    def __init__(self, response: httpx2.Response, *, is_stream: bool) -> None:
        self._response = response
        self._is_stream = is_stream

    def stream(self) -> Iterator[bytes]:
        yield from bounded(self._response.iter_bytes(), is_stream=self._is_stream)

    def close(self) -> None:
        self._response.close()


class AmazonBedrock(Provider):
    """Converse."""

    OPTIONAL: ClassVar = frozenset({STREAM, THOUGHTS, WORDS_BESIDE_CALLS})

    def __init__(self, setup: Setup, client: Any) -> None:
        super().__init__(setup)
        self._client = client

    @property
    def address(self) -> str:
        return str(self._client.meta.endpoint_url)

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {
            "modelId": self.model,
            "messages": [
                {"role": str(turn.role), "content": _content(turn, without)} for turn in asked.turns
            ],
        }
        if asked.system:
            request["system"] = [{"text": asked.system}]
        if settings := chosen(self.parameters, without):
            request["inferenceConfig"] = settings
        if asked.tools:
            tools = [
                {
                    "toolSpec": {
                        "name": tool.name,
                        "description": tool.description,
                        "inputSchema": {"json": tool.schema},
                    }
                }
                for tool in asked.tools
            ]
            request["toolConfig"] = {"tools": tools}
        elif any(turn.calls or turn.results for turn in asked.turns):
            request["messages"] = list(_told(asked.turns))  # calls without tools are refused
        return request

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        if not stream:
            yield [self._client.converse(**request)]
            return
        events = self._client.converse_stream(**request)["stream"]
        try:
            yield _told_of(events)
        finally:
            events.close()

    def read(self, frame: Json, answer: Answer) -> None:
        answer.has_come = True
        for name in frame:
            event = inner(frame, name)
            index = place(event.get("contentBlockIndex"))
            match name:
                case "contentBlockStart":
                    self._open(index, inner(event, "start"), answer)
                case "contentBlockDelta":
                    self._add(index, inner(event, "delta"), answer)
                case "messageStop":
                    answer.end(ending(event.get("stopReason")))
                case "metadata":
                    self._count(inner(event, "usage"), answer)
                    answer.is_over = answer.ending is not None
                case "output":  # whole, since no stream was asked for
                    for number, block in enumerate(objects(inner(event, "message").get("content"))):
                        self._open(number, block, answer)
                        self._add(number, block, answer)
                    answer.end(ending(frame.get("stopReason")))
                    self._count(inner(frame, "usage"), answer)
                    answer.is_over = True

    def finish(self, answer: Answer) -> None:
        places = answer.places
        blocks: list[Json] = []
        for block in (answer.echo or {}).values():
            if "call" in block:
                if block["call"] in places:
                    blocks.append({"call": places[block["call"]]})
            elif thought := block.get("reasoningContent"):
                if secret := thought.get(_REDACTED):
                    blocks.append({"reasoningContent": {_REDACTED: b"".join(secret)}})
                else:  # with its signature
                    whole = {name: "".join(pieces) for name, pieces in thought.items()}
                    blocks.append({"reasoningContent": {"reasoningText": {"text": "", **whole}}})
            elif "text" in block:
                blocks.append({"text": "".join(block["text"])})
            else:
                blocks.append(block)
        answer.echo = blocks if any("reasoningContent" in block for block in blocks) else None

    @staticmethod
    def _open(index: Any, start: Json, answer: Answer) -> None:
        if tool := inner(start, "toolUse"):
            call = answer.call(
                ("block", index),
                call_id=tool.get("toolUseId"),
                name=tool.get("name"),
                arguments=tool.get("input"),
            )
            answer.echo = {**(answer.echo or {}), index: {"call": call.index}}

    @staticmethod
    def _add(index: Any, delta: Json, answer: Answer) -> None:
        blocks: dict[Any, Json] = answer.echo or {}
        answer.echo = blocks
        if isinstance(text := delta.get("text"), str):
            answer.text(text)
            _block(blocks, index, answer).setdefault("text", []).append(text)
        elif isinstance(piece := inner(delta, "toolUse").get("input"), str):
            answer.call(("block", index), arguments=piece)
        elif thought := inner(delta, "reasoningContent"):
            thought = inner(thought, "reasoningText") or thought
            answer.thought(thought.get("text"))
            known = _block(blocks, index, answer).setdefault("reasoningContent", {})
            for name, value in thought.items():
                if isinstance(value, bytes if name == _REDACTED else str):
                    known.setdefault(name, []).append(answer.keep(value))

    @staticmethod
    def _count(usage: Json, answer: Answer) -> None:
        answer.count(asked=usage.get("inputTokens"), answered=usage.get("outputTokens"))


def _block(blocks: dict[Any, Json], index: Any, answer: Answer) -> Json:
    if index not in blocks:
        blocks[index] = answer.keep({})
    return blocks[index]


def _told_of(events: Iterable[Json]) -> Iterator[Json]:
    """Events of an answer.

    Raises:
        ToldError: one of them tells of an error.
    """
    try:
        yield from events
    except EventStreamError as error:
        told = error.response.get("Error", {})
        raise ToldError({"type": told.get("Code"), "message": told.get("Message")}) from error


def _content(turn: Turn, without: frozenset[str]) -> list[Json]:
    results = [
        {
            "toolResult": {
                "toolUseId": result.id,
                "content": [{"text": result.text}],
                "status": "error" if result.is_error else "success",
            }
        }
        for result in turn.results
    ]
    calls = [
        {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}} for call in turn.calls
    ]
    if turn.role is Role.ASSISTANT and turn.echo:
        as_it_came = (calls[block["call"] - 1] if "call" in block else block for block in turn.echo)
        return [
            block
            for block in as_it_came
            if block.get("text", "-").strip()
            and not (THOUGHTS in without and "reasoningContent" in block)
            and not (WORDS_BESIDE_CALLS in without and "text" in block)
        ]
    is_said = turn.text and not (turn.calls and WORDS_BESIDE_CALLS in without)
    text = [{"text": turn.text}] if is_said else []
    return [*results, *text, *calls]


def _told(turns: list[Turn]) -> Iterator[Json]:
    """Turns in words alone, those of one side together."""
    for role, of_one_side in groupby(turns, lambda turn: turn.role):
        said: list[str] = []
        for turn in of_one_side:
            said += [f"({result.name} gives: {result.text})" for result in turn.results]
            said += [turn.text] if turn.text else []
            said += [f"(I call {call.name} with {call.arguments}.)" for call in turn.calls]
        yield {"role": str(role), "content": [{"text": "\n".join(said)}]}


def build(setup: Setup) -> AmazonBedrock:
    """Make the provider, from the AWS_… variables, a profile or the machine's role."""
    session = _session()
    if session.region_name is None:
        raise InvalidConfigurationError(
            "amazon-bedrock needs AWS_DEFAULT_REGION in the worker's environment."
        )
    setup.find("AWS_BEARER_TOKEN_BEDROCK")  # the library reads it; what cannot be sent is told here
    names = {name: setup.find(name.upper()) for name in ("aws_access_key_id", "aws_secret_access_key")}
    keys = {name: value for name, value in names.items() if value}
    token = setup.find("AWS_SESSION_TOKEN")
    if len(keys) < len(names):
        keys = {}  # the library looks for a profile or a role
    elif token:
        keys["aws_session_token"] = token
    client = session.client("bedrock-runtime", config=Config(retries={"total_max_attempts": 1}), **keys)
    http_client = setup.connections.http_client()

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Replace boto3's transport: nothing could end a blocked read of it."""
        outgoing = http_client.build_request(
            request.method, request.url, headers=dict(request.headers.items()), content=request.body
        )
        response = http_client.send(outgoing, stream=True)
        is_stream = request.url.endswith("-stream")
        return AWSResponse(
            request.url, response.status_code, response.headers, _Body(response, is_stream=is_stream)
        )

    client.meta.events.register("before-send.bedrock-runtime", send)
    return AmazonBedrock(setup, client)


@cache
def _session() -> boto3.Session:
    """Return the session of the process, which holds the description of the service."""
    return boto3.Session()


def warm_up() -> None:
    """Read the description of the service, which the session keeps."""
    _session()
