"""The export of spans by OTLP over HTTP, with OpenTelemetry's SDK (the extra `otel`).

A collector that hangs, refuses or is away holds nobody up: spans wait, at most `MAX_WAITING` bytes and
`MAX_SPANS` of them, and later ones are dropped and counted.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from shared.settings import Settings
from shared.tracing import Span, TraceContext

PATH: Final = "/v1/traces"

MAX_SPANS: Final = 4096
"""Spans that wait for their export in one process."""

MAX_WAITING: Final = 8 * 1_048_576
"""Bytes of spans that wait, about."""

MAX_ATTRIBUTES: Final = 40  # of a span
MAX_LENGTH: Final = 1_024  # characters of an attribute
MAX_CONTENT: Final = 16_384  # characters of an attribute, where spans may have content

EXPORT_TIMEOUT: Final = 10.0  # seconds for one export, its repetitions included
EXPORT_INTERVAL: Final = 1.0  # seconds between two exports
BATCH: Final = 256  # spans of one export

DROP_LOG_INTERVAL: Final = 10.0  # seconds between two log lines about dropped spans

log = structlog.get_logger(__name__)


class OtlpRecorder:
    """Hands spans to the SDK's batch processor. No call waits for the collector, except `close`."""

    def __init__(self, exporter: SpanExporter, resource: Resource, *, longest: int) -> None:
        """Make the recorder of a process.

        Args:
            exporter: exports batches, in a thread of the processor's.
            resource: the process, as collectors see it.
            longest: characters of an attribute.
        """
        self._ids = _GivenIds()
        limits = SpanLimits(
            max_span_attributes=MAX_ATTRIBUTES,
            max_span_attribute_length=longest,
            max_attribute_length=longest,
            max_links=4,
            max_events=4,
        )
        self._room = _Room(exporter)
        self._processor = BatchSpanProcessor(
            self._room,
            max_queue_size=MAX_SPANS,
            max_export_batch_size=BATCH,
            schedule_delay_millis=EXPORT_INTERVAL * 1000,
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what comes here is to be exported
            resource=resource,
            id_generator=self._ids,
            span_limits=limits,
            shutdown_on_exit=False,  # it would wait for half a minute
        )
        self._tracer = self._provider.get_tracer("runyard", version("runyard"))

    def record(self, span: Span) -> None:
        """Hand an ended span over, or drop it. Raises nothing."""
        try:
            made = self._made(span)
            if self._room.take(made):
                self._processor.on_end(made)
        except Exception:
            log.exception("span not recorded", span=span.name)

    def close(self, timeout: float) -> None:
        """Export what waits, for at most `timeout` seconds; the process may end then."""
        closing = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        try:
            closing.start()
        except RuntimeError:  # no more threads: what waits is lost
            return
        closing.join(timeout)
        if closing.is_alive():
            log.warning("spans left behind: the collector does not answer", spans=self._room.spans)

    def _made(self, span: Span) -> ReadableSpan:
        parent = None
        if span.parent_id is not None:
            parent = TraceContext(span.context.trace_id, span.parent_id, is_recorded=True)
        above = (
            Context()
            if parent is None
            else set_span_in_context(NonRecordingSpan(_context_of(parent)), Context())
        )
        with self._ids.given(span.context):
            made: Any = self._tracer.start_span(
                span.name,
                context=above,
                kind=SpanKind[span.kind.value],
                attributes=span.attributes,
                links=[Link(_context_of(link)) for link in span.links],
                start_time=span.started_at,
            )
        if span.error is not None:
            made.set_attribute("error.type", span.error)
            made.set_status(Status(StatusCode.ERROR))
        made.end(span.ended_at)
        readable: ReadableSpan = made
        return readable


class _Room(SpanExporter):
    """Bounds what waits for an exporter, in bytes."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lock = threading.Lock()
        self._bytes = 0
        self.spans = 0
        self._dropped = 0
        self._told_at = float("-inf")
        os.register_at_fork(after_in_child=self._renew)

    def take(self, span: ReadableSpan) -> bool:
        """Whether there is room for a span; it is then counted."""
        size, now = _size_of(span), time.monotonic()
        with self._lock:
            if self.spans < MAX_SPANS and self._bytes + size <= MAX_WAITING:
                self.spans += 1
                self._bytes += size
                return True
            self._dropped += 1
            is_told = now >= self._told_at + DROP_LOG_INTERVAL
            dropped = self._dropped
            if is_told:
                self._told_at, self._dropped = now, 0
        if is_told:
            log.warning("spans dropped: the collector does not keep up", spans=dropped)
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch, and make room for others."""
        try:
            return self._exporter.export(spans)
        finally:
            with self._lock:
                self.spans -= len(spans)
                self._bytes -= sum(map(_size_of, spans))

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _renew(self) -> None:
        """Begin anew in a forked child: the parent exports what waited."""
        self._lock = threading.Lock()
        self._bytes = self.spans = self._dropped = 0


class _GivenIds(IdGenerator):
    """Ids that were given out before their spans are made; each thread makes one span at a time."""

    def __init__(self) -> None:
        self._wanted = threading.local()

    def given(self, context: TraceContext) -> "_GivenIds":
        self._wanted.context = context
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        del self._wanted.context

    def generate_span_id(self) -> int:
        context: TraceContext = self._wanted.context
        return int(context.span_id, 16)

    def generate_trace_id(self) -> int:
        context: TraceContext = self._wanted.context
        return int(context.trace_id, 16)


def make(settings: Settings, *, process: str, worker: str | None = None) -> OtlpRecorder:
    """Make the recorder of a process. OpenTelemetry's own variables decide what no setting says."""
    base = str(settings.traces_endpoint).rstrip("/")
    exporter = OTLPSpanExporter(
        endpoint=base if base.endswith(PATH) else base + PATH,
        headers=settings.traces_header_fields or None,
        timeout=EXPORT_TIMEOUT,
    )
    named = {"service.worker.name": worker} if worker else {}
    resource = Resource.create(
        {
            "service.name": f"runyard-{process}",
            "service.namespace": "runyard",
            "service.version": version("runyard"),
            "service.instance.id": f"{socket.gethostname()}/{os.getpid()}",
            "process.pid": os.getpid(),
            "host.name": socket.gethostname(),
            **named,
        }
    )
    longest = MAX_CONTENT if settings.traces_content else MAX_LENGTH
    return OtlpRecorder(exporter, resource, longest=longest)


def _context_of(place: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=True, trace_flags=flags)


def _size_of(span: ReadableSpan) -> int:
    """The bytes of a span, about."""
    attributes = span.attributes or {}
    return 512 + len(span.name) + sum(64 + len(name) + len(str(value)) for name, value in attributes.items())
