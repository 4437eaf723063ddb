"""A model provider on loopback, for tests; its models behave as their names say.

It speaks the dialects of OpenAI, Anthropic, Ollama and others (llm_dialects.py).

| model | behaviour |
|---|---|
| `words-N`, `words-N-MS` | streams N words, with MS milliseconds between them |
| `stall-N-K-MS-NAME` | hangs after K words; whenever it is asked again, it is as `words-N-MS` |
| `repeat`, `repeat-MS` | streams the last user message back |
| `hang` | takes the request and answers nothing |
| `hang-midstream` | streams three words, then nothing more |
| `close-midstream` | streams three words, then cuts the connection |
| `end-midstream` | streams three words and ends properly, but without saying that it has finished |
| `garbage` | streams something that is not JSON |
| `html` | answers 200 with a web page |
| `status-NNN` | refuses with that status; with 429, asks to be left alone for two seconds |
| `flaky-NNN-K` | refuses K times with that status, then answers |
| `no-usage` | answers without token counts |
| `tool` | calls the first tool it is offered, then answers |

Any other model answers with five words. `GET /stub` tells what was requested and what is open.
"""

import argparse
import json
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from tests.support.llm_dialects import Dialect, Json, find_dialect

MAX_WORDS: Final = 10_000
MAX_PAUSE: Final = 5.0  # seconds between two words
MAX_HANG: Final = 120.0  # seconds
MAX_RECORDS: Final = 2_000
PEEK_INTERVAL: Final = 0.02  # seconds between two looks whether the client has gone


def stalling_model(words: int, *, after: int = 5, pause: int = 0) -> str:
    """Name a model for a run that is lost in the middle of its answer, once that has begun.

    Args:
        words: what it says when it is asked again.
        after: how many of them it says at first.
        pause: milliseconds between the words of the second answer.
    """
    return f"openai/stall-{words}-{after}-{pause}-{uuid.uuid4().hex}"


@dataclass
class Records:
    """What the stub has seen, for tests to look at and wait for."""

    requests: list[Json] = field(default_factory=list)
    open_connections: int = 0
    left_early: int = 0  # clients that closed before their answer was complete
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add_request(self, request: Json) -> int:
        """Record a request; return how many of its model there are."""
        with self.changed:
            self.requests.append(request)
            del self.requests[:-MAX_RECORDS]
            self.changed.notify_all()
            return sum(1 for known in self.requests if known["model"] == request["model"])

    def count(self, *, connections: int = 0, left_early: int = 0) -> None:
        with self.changed:
            self.open_connections += connections
            self.left_early += left_early
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[Self], bool], deadline: float = 5.0) -> bool:
        """Wait until the records meet a condition; say whether they do."""
        with self.changed:
            return self.changed.wait_for(lambda: condition(self), deadline)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Say nothing: the records are what tests look at."""

    def setup(self) -> None:
        super().setup()
        self.server.records.count(connections=1)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.records.count(connections=-1)

    def do_GET(self) -> None:
        records = self.server.records
        self._answer(200, {"requests": records.requests, "open_connections": records.open_connections})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = find_dialect(self.path, body)
        if found is None:
            self._answer(404, {"error": {"message": f"no such path: {self.path}"}})
            return
        dialect, model = found
        request = {"path": self.path, "model": model, "body": body, "headers": dict(self.headers)}
        nth = self.server.records.add_request(request)
        try:
            self._behave(dialect, model, body, nth)
        except OSError:
            self.close_connection = True
            self.server.records.count(left_early=1)

    def _behave(self, dialect: Dialect, model: str, body: Json, nth: int) -> None:
        kind, *numbers = model.split("-")
        match kind, numbers:
            case "hang", []:
                self._hang()
            case ("status", [status]) | ("flaky", [status, _]) if kind == "status" or nth <= int(numbers[1]):
                message = f"The stub refuses with {status}."
                self._answer(int(status), dialect.refusal(message, int(status)))
            case "html", []:
                self._answer(200, "<html><body>It works!</body></html>", "text/html")
            case _:
                self._stream(dialect, list(_script(dialect, model, body, nth)), ends=kind != "close")

    def _stream(self, dialect: Dialect, frames: list[bytes | float], *, ends: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", dialect.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for frame in frames:
            if isinstance(frame, float):
                self._pause(frame)
            elif frame:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
                self.wfile.flush()
        if ends:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def _hang(self) -> None:
        self._pause(MAX_HANG)
        self.close_connection = True

    def _pause(self, seconds: float) -> None:
        """Wait; a client that goes away meanwhile is a ConnectionError, the end of the stub, too."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self.connection], [], [], min(left, PEEK_INTERVAL))
            if self.server.is_stopping or (readable and not self.connection.recv(1, socket.MSG_PEEK)):
                raise ConnectionAbortedError

    def _answer(self, status: int, content: Json | str, content_type: str = "application/json") -> None:
        encoded = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(encoded)))
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self.send_header("Retry-After", "2")
        self.end_headers()
        self.wfile.write(encoded)


def _script(dialect: Dialect, model: str, body: Json, nth: int) -> Iterator[bytes | float]:
    """What is streamed: frames, and the seconds to wait between them."""
    kind, *rest = model.split("-")
    numbers = [int(part) for part in rest if part.isdecimal()]
    yield dialect.opening()
    if rest == ["midstream"]:
        yield from (dialect.word(f"word{n} ") for n in range(3))
        if kind == "hang":
            yield MAX_HANG
        return
    if kind == "stall" and nth == 1:
        yield from (dialect.word(f"word{n} ") for n in range(numbers[1]))
        yield MAX_HANG
        return
    if kind == "garbage":
        yield dialect.garbage()
        return
    if kind == "tool" and body.get("tools") and body["messages"][-1]["role"] != "tool":
        yield dialect.tool_call(body["tools"][0]["function"]["name"])
    else:
        yield from _words(dialect, kind, numbers, body)
    yield dialect.ending(usage=kind != "no")


def _words(dialect: Dialect, kind: str, numbers: list[int], body: Json) -> Iterator[bytes | float]:
    is_counted = kind in {"words", "stall"} and numbers
    words = [f"word{n} " for n in range(min(numbers[0] if is_counted else 5, MAX_WORDS))]
    pauses = {"words": numbers[1:], "stall": numbers[2:]}.get(kind, [])
    if kind == "repeat":
        words = [f"{word} " for word in str(body["messages"][-1]["content"]).split(" ")]
        pauses = numbers
    for word in words:
        yield dialect.word(word)
        if pauses:
            yield min(pauses[0] / 1000, MAX_PAUSE)


class Server(ThreadingHTTPServer):
    """Takes connections, a thread each."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.records = Records()
        self.is_stopping = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that vanish are what this stub is for."""


class LlmStub:
    """The stub, served by threads of this process while the context lasts."""

    def __init__(self, port: int = 0) -> None:
        self._server = Server(port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        return f"{self.root}/v1"

    @property
    def records(self) -> Records:
        return self._server.records

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.is_stopping = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def main() -> None:
    """Serve until interrupted; the first line printed is the OpenAI base URL."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 is any free one")
    with LlmStub(parser.parse_args().port) as stub:
        print(stub.openai_url, flush=True)  # noqa: T201  # what the caller waits for
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
