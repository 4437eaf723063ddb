"""A model provider on loopback that answers what a test has written, frame by frame."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.llm_dialects import Json


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the provider."""

    frames: Iterable[str | bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ends: bool = True  # properly; else the connection is cut after the frames


Answering = Callable[[Json], Reply | None]
"""Looks at a request and answers it; None leaves it to the replies that are waiting."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.server.script.next_reply(self.path, body)
        self.send_response(reply.status)
        for name, value in {"Content-Type": "text/event-stream", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in reply.frames:
            encoded = frame if isinstance(frame, bytes) else frame.encode()
            if encoded:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(encoded), encoded))
                self.wfile.flush()
        if reply.ends:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    script: "ScriptedLlm"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are none of a test's matters here."""


class ScriptedLlm:
    """Answers with its replies in order, the last of them again and again."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[Json] = []
        self.paths: list[str] = []
        self.answering: Answering = lambda _request: None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        return f"{self.root}/v1"

    def next_reply(self, path: str, body: Json) -> Reply:
        with self._lock:
            self.requests.append(body)
            self.paths.append(path)
            if (chosen := self.answering(body)) is not None:
                return chosen
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def events(*payloads: Any) -> Reply:
    """Server-sent events, each of which holds JSON; text stands as it is."""
    return Reply([each if isinstance(each, str) else f"data: {json.dumps(each)}\n\n" for each in payloads])


def named_events(*payloads: Json) -> Reply:
    """Server-sent events that are named by the type of what they hold."""
    return Reply([f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in payloads])


def refusal(status: int, body: Any, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([json.dumps(body)], status, {"Content-Type": "application/json", **names})


def chunk(finish: str | None = None, **delta: Any) -> Json:
    """A chunk of OpenAI's protocol."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


DONE = "data: [DONE]\n\n"


def said(*words: str, finish: str | None = "stop") -> Reply:
    """An ordinary answer of OpenAI's protocol."""
    return events(*(chunk(content=word) for word in words), chunk(finish), DONE)


def called(*calls: Json, finish: str = "tool_calls", **beside: Any) -> Reply:
    """Calls of OpenAI's protocol, in one chunk."""
    return events(chunk(tool_calls=list(calls), **beside), chunk(finish), DONE)


def call(name: str, arguments: str = '{"args": ["x"]}', **more: Any) -> Json:
    return {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    } | more
