"""Google's Gemini models."""

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import httpx2
from google import genai
from google.genai.types import HttpOptions

from worker.executors.griptape.connections import ssl_context
from worker.executors.griptape.model_errors import ToldError
from worker.executors.griptape.providers.answer import Answer, is_made_up
from worker.executors.griptape.providers.conversation import Conversation, Role, Turn
from worker.executors.griptape.providers.endings import Ending, How, ending
from worker.executors.griptape.providers.frames import DONE, Json, frames
from worker.executors.griptape.providers.setup import STREAM, Provider, Setup, chosen, inner, objects, segment

_REFUSED_KEYWORDS: Final = frozenset({"additionalProperties", "title", "$schema", "$id"})
"""Of JSON schemas; Gemini refuses them."""


_KINDS: Final = ("models/", "tunedModels/")
"""Of models; a name without one is of the first."""

_OF_ANSWERS: Final = ("candidates", "promptFeedback", "usageMetadata")
"""What answers hold, and errors do not."""


class Google(Provider):
    """Generate content."""

    OPTIONAL: ClassVar = frozenset({STREAM})

    def __init__(self, setup: Setup, client: genai.Client, http_client: httpx2.Client) -> None:
        super().__init__(setup)
        # The library has no public way to open an answer without reading it.
        self._api: Any = client._api_client  # noqa: SLF001  # the reason is above
        self._http_client = http_client
        self._address = setup.find("GOOGLE_GEMINI_BASE_URL") or ""
        self._publisher = "publishers/google/" if client.vertexai else ""
        kind = next((kind for kind in _KINDS if self.model.startswith(kind)), "")
        self._path = (kind or _KINDS[0]) + segment(self.model.removeprefix(kind))

    @property
    def address(self) -> str:
        return f"{self._address}/{self._publisher}"

    def request(self, asked: Conversation, without: frozenset[str]) -> Json:
        request: Json = {"contents": [_content(turn) for turn in asked.turns]}
        if asked.system:
            request["systemInstruction"] = {"parts": [{"text": asked.system}]}
        if asked.tools:
            declared = [
                {
                    "name": tool.name,
                    "description": tool.description,
                    **({"parameters": _plain(tool.schema)} if tool.schema.get("properties") else {}),
                }
                for tool in asked.tools
            ]
            request["tools"] = [{"functionDeclarations": declared}]
        if settings := chosen(self.parameters, without):
            request["generationConfig"] = settings
        return request

    @contextmanager
    def send(self, request: Json, *, stream: bool) -> Iterator[Iterable[Json]]:
        way = "streamGenerateContent?alt=sse" if stream else "generateContent"
        path = f"{self._publisher}{self._path}:{way}"
        made = self._api._build_request("post", path, dict(request))  # noqa: SLF001  # as above
        outgoing = self._http_client.build_request("POST", made.url, headers=made.headers, json=made.data)
        response = self._http_client.send(outgoing, stream=True)
        try:
            yield frames(response.iter_bytes())
        finally:
            response.close()

    def read(self, frame: Json, answer: Answer) -> None:
        if frame is DONE:
            answer.is_over = True
            return
        if frame.get("error"):
            raise ToldError(frame)
        answer.has_come = answer.has_come or any(name in frame for name in _OF_ANSWERS)
        usage = inner(frame, "usageMetadata")
        thought = usage.get("thoughtsTokenCount")
        answered = usage.get("candidatesTokenCount")
        if isinstance(answered, int) and isinstance(thought, int):
            answered += thought
        answer.count(asked=usage.get("promptTokenCount"), answered=answered)
        feedback = inner(frame, "promptFeedback")
        if reason := feedback.get("blockReason"):
            answer.refuse(f"the prompt is blocked: {reason}")
            if isinstance(words := feedback.get("blockReasonMessage"), str):
                answer.refuse(f": {words}")
            answer.end(Ending(How.REFUSED, str(reason)))
        for candidate in objects(frame.get("candidates")):
            if candidate.get("index") in (0, None):
                self._read_candidate(candidate, answer)

    def _read_candidate(self, candidate: Json, answer: Answer) -> None:
        kept: list[Json] = answer.echo or []
        answer.echo = kept
        for part in objects(inner(candidate, "content").get("parts")):
            if part.get("thought"):
                answer.thought(part.get("text"))
            else:
                answer.text(part.get("text"))
            if function := inner(part, "functionCall"):
                arguments = function.get("args")
                answer.call(
                    ("part", len(answer.calls)),  # each is whole
                    call_id=function.get("id"),
                    name=function.get("name"),
                    arguments=arguments if arguments is not None else {},
                )
            if part != {"text": ""}:
                kept.append(answer.keep(part))
        end = ending(candidate.get("finishReason"))
        answer.end(end)
        if end and end.how is not How.COMPLETE:
            answer.refuse(candidate.get("finishMessage"))


def _content(turn: Turn) -> Json:
    role = "model" if turn.role is Role.ASSISTANT else "user"
    if turn.calls and turn.echo:
        calls = iter(turn.calls)
        kept: list[Json] = []  # the parts as they came: Gemini wants its signatures back where they were
        for part in turn.echo:
            if "functionCall" not in part:
                kept.append(part)
            elif call := next(calls, None):
                function = {**inner(part, "functionCall"), "name": call.name, "args": call.arguments}
                kept.append({**part, "functionCall": function})
        return {"role": role, "parts": kept}
    parts: list[Json] = [
        {
            "functionResponse": {
                **({} if is_made_up(result.id) else {"id": result.id}),
                "name": result.name,
                "response": {"error" if result.is_error else "output": result.text},
            }
        }
        for result in turn.results
    ]
    if turn.text:
        parts.append({"text": turn.text})
    parts += [{"functionCall": {"name": call.name, "args": call.arguments}} for call in turn.calls]
    return {"role": role, "parts": parts}


def _plain(schema: Any) -> Any:
    """A schema without what Gemini refuses; the names of properties are theirs, whatever they are."""
    match schema:
        case dict():
            return {
                key: {name: _plain(each) for name, each in value.items()}
                if key == "properties" and isinstance(value, dict)
                else _plain(value)
                for key, value in schema.items()
                if key not in _REFUSED_KEYWORDS
            }
        case list():
            return [_plain(each) for each in schema]
        case _:
            return schema


def build(setup: Setup) -> Google:
    """Make the provider, from GOOGLE_API_KEY or GEMINI_API_KEY, and GOOGLE_GEMINI_BASE_URL."""
    key = setup.require("GOOGLE_API_KEY", "GEMINI_API_KEY")
    trust = ssl_context()
    http_client = setup.connections.http_client()
    options = HttpOptions(
        httpx_client=http_client,
        # Never used; without it the library reads the certificates anew for each run, twice.
        async_client_args={"verify": trust, "ssl": trust},
    )
    return Google(setup, genai.Client(api_key=key, http_options=options), http_client)


def warm_up() -> None:
    """Make the library import what it leaves for its first use."""
    importlib.import_module("google.auth.aio.credentials")
