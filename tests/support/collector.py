"""A collector of traces on loopback, for tests: OTLP over HTTP, as the real exporter sends it."""

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

MAX_HANG: Final = 120.0  # seconds


@dataclass(frozen=True)
class SeenSpan:
    """A span as it was exported."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    started_at: int  # nanoseconds since the epoch
    ended_at: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]  # trace and span
    is_error: bool
    service: str


@dataclass
class Collector:
    """Keeps what was exported to it, until it is closed; it can be made to hang."""

    spans: list[SeenSpan] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    is_hanging: bool = False
    _released: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector._take(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def hanging(self) -> Generator[None]:
        """Take every request during a block, and answer none."""
        self._released.clear()
        self.is_hanging = True
        try:
            yield
        finally:
            self.is_hanging = False
            self._released.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def of_trace(self, trace_id: str) -> list[SeenSpan]:
        """The spans of a trace, in the order of their beginnings."""
        return sorted((one for one in self.spans if one.trace_id == trace_id), key=lambda one: one.started_at)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        self.headers.append(dict(request.headers.items()))
        body = request.rfile.read(int(request.headers["content-length"]))
        if self.is_hanging:
            self._released.wait(MAX_HANG)
            request.close_connection = True
            return
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(of_process.resource.attributes)
            for scope in of_process.scope_spans:
                self.spans += [_seen(span, resource["service.name"]) for span in scope.spans]
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()


def _seen(span: Any, service: str) -> SeenSpan:
    kind = span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
    links = tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links)
    return SeenSpan(
        name=span.name,
        kind=kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        started_at=span.start_time_unix_nano,
        ended_at=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        links=links,
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        service=service,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
