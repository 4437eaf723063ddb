"""Traces: what a process measured of requests and runs, as spans of W3C traces.

A trace begins with the request that creates a run. The run keeps its place (`Run.traceparent`), and every
attempt, in whatever process, hangs below it. Spans are recorded only where `start` was told to (the extra
`otel`); nothing else here imports OpenTelemetry.

Nobody without a key has a span recorded, and no tenant more than its rate. Whether one is recorded is decided
here: the caller's own flag counts for nothing. A caller that knows the id of a trace can add to it, unless
`RUNYARD_TRACES_CALLERS` is `link`; no API shows one tenant the ids of another.
"""

import hashlib
import importlib
import importlib.util
import random
import re
import secrets
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from shared.errors import RunyardError
from shared.settings import Settings

MAX_HEADER: Final = 512
"""Characters of a traceparent; later versions may append to what is known."""

MAX_SPANS: Final = 256
"""Spans that one attempt or one request records; its last one says how many more there were."""

MAX_TENANTS: Final = 4096
"""Tenants whose rate is remembered in one process."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the end of a process waits for the export of its last spans."""

LINK: Final = "link"
"""A value of `traces_callers`: a request begins a trace of its own, with a link to the caller's."""

_EXTRA: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?", re.ASCII
)


class TracingUnavailableError(RunyardError):
    """Traces are to be exported, and the packages for that are not installed."""

    def __init__(self) -> None:
        super().__init__("RUNYARD_TRACES_ENDPOINT needs the extra `otel`: install it, or unset the variable.")


class Kind(StrEnum):
    """The kind of a span, as OpenTelemetry has it."""

    SERVER = "SERVER"
    CLIENT = "CLIENT"
    CONSUMER = "CONSUMER"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace: below which span others hang."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 of them
    is_recorded: bool = False

    @property
    def traceparent(self) -> str:
        """The W3C header that names this place."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_recorded):02x}"

    @classmethod
    def parse(cls, header: str | None) -> "TraceContext | None":
        """Read a W3C `traceparent`; None if there is none, or a malformed one."""
        found = _TRACEPARENT.fullmatch(header) if header and len(header) <= MAX_HEADER else None
        if found is None or (found[1] == "00" and found[5]):
            return None
        return cls(found[2], found[3], is_recorded=bool(int(found[4], 16) & 1))

    def below(self) -> "TraceContext":
        """A new place below this one."""
        return TraceContext(self.trace_id, new_span_id(), self.is_recorded)


def new_span_id() -> str:
    return secrets.token_hex(8)


def span_id_of(run_id: uuid.UUID, attempt: int) -> str:
    """The id of an attempt's span: each process can tell it, so that the next attempt links to it."""
    return hashlib.sha256(run_id.bytes + attempt.to_bytes(8)).hexdigest()[:16]


@dataclass(slots=True)
class Span:
    """What is measured of one piece of work. Instants are nanoseconds since the epoch."""

    name: str
    context: TraceContext
    parent_id: str | None = None
    kind: Kind = Kind.INTERNAL
    started_at: int = field(default_factory=time.time_ns)
    ended_at: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)
    links: Sequence[TraceContext] = ()
    error: str | None = None  # its type; its message may quote a user

    def set(self, **attributes: Any) -> None:
        """Set attributes; a double underscore in a name stands for a dot, and None leaves one out."""
        for name, value in attributes.items():
            if value is not None:
                self.attributes[name.replace("__", ".")] = value


class Recorder(Protocol):
    """Takes ended spans, and holds nobody up."""

    def record(self, span: Span) -> None:
        """Take an ended span, or drop it. Raises nothing."""
        ...

    def close(self, timeout: float) -> None:
        """Export what waits, for at most `timeout` seconds."""
        ...


class Rates:
    """Which requests are recorded: a share of them, and of each tenant so many a second."""

    def __init__(self, share: float, rate: float) -> None:
        """Decide for one process.

        Args:
            share: the share of all requests, from 0 to 1.
            rate: recorded requests of one tenant per second; twice as many at once.
        """
        self._share = share
        self._rate = rate
        self._left: OrderedDict[uuid.UUID, tuple[float, float]] = OrderedDict()  # how many, and since when
        self._lock = threading.Lock()

    def take(self, tenant: uuid.UUID) -> bool:
        """Whether this request is recorded."""
        if random.random() >= self._share:  # noqa: S311  # no secret
            return False
        burst, now = max(1.0, 2 * self._rate), time.monotonic()
        with self._lock:
            left, since = self._left.pop(tenant, (burst, now))
            left = min(burst, left + (now - since) * self._rate)
            is_taken = left >= 1
            self._left[tenant] = (left - is_taken, now)
            while len(self._left) > MAX_TENANTS:
                self._left.popitem(last=False)
        return is_taken


@dataclass(frozen=True, slots=True)
class _Tracing:
    recorder: Recorder
    rates: Rates
    share: float
    shows_content: bool


_tracing: _Tracing | None = None


def demand_exporter(settings: Settings) -> None:
    """Check at the start that spans can be exported, if they are to be.

    Raises:
        TracingUnavailableError: the extra `otel` is not installed.
    """
    if settings.traces_endpoint is None:
        return
    try:
        found = [importlib.util.find_spec(name) for name in _EXTRA]
    except ModuleNotFoundError:  # of what is above them
        found = [None]
    if None in found:
        raise TracingUnavailableError


def start(settings: Settings, *, process: str, worker: str | None = None) -> None:
    """Begin to record spans in this process, if the settings say where to; after any fork.

    Raises:
        TracingUnavailableError: the extra `otel` is not installed.
    """
    global _tracing  # noqa: PLW0603  # one recorder a process, like its log
    _tracing = None  # a forked child leaves its parent's alone
    if settings.traces_endpoint is None:
        return
    try:
        otlp = importlib.import_module("shared.tracing_otlp")
    except ImportError as error:
        raise TracingUnavailableError from error
    recorder: Recorder = otlp.make(settings, process=process, worker=worker)
    use(recorder, settings)


def use(recorder: Recorder, settings: Settings) -> None:
    """Record spans with a recorder that is there."""
    global _tracing  # noqa: PLW0603  # as above
    _tracing = _Tracing(
        recorder,
        Rates(settings.traces_share, settings.traces_rate),
        settings.traces_share,
        settings.traces_content,
    )


def close(timeout: float = CLOSE_TIMEOUT) -> None:
    """Export what waits, for at most `timeout` seconds; record nothing more."""
    global _tracing  # as above
    closing, _tracing = _tracing, None
    if closing is not None:
        closing.recorder.close(timeout)


def is_on() -> bool:
    return _tracing is not None


def shows_content() -> bool:
    """Whether spans may have what users and models wrote."""
    return _tracing is not None and _tracing.shows_content


class RequestTrace:
    """The place of a request in a trace, from its head on. It is recorded if it created a run."""

    def __init__(self, header: str | None, *, joins: bool) -> None:
        """Begin.

        Args:
            header: the caller's `traceparent`.
            joins: whether the request is a part of its caller's trace.
        """
        self._caller = TraceContext.parse(header)
        self._joins = joins and self._caller is not None
        self._started_at = time.time_ns()
        trace_id = self._caller.trace_id if self._caller and self._joins else uuid.uuid4().hex
        self._context = TraceContext(trace_id, new_span_id())
        self._tenant: uuid.UUID | None = None
        self._is_used = False

    @property
    def trace_id(self) -> str | None:
        """The trace of the request; None if there is none to speak of."""
        return self._context.trace_id if self._joins or is_on() else None

    def admit(self, tenant: uuid.UUID) -> None:
        """Take note of the caller, who is known now: nobody without a key is recorded."""
        self._tenant = tenant

    def traceparent(self) -> str | None:
        """What a run that this request creates keeps; None if the run begins a trace of its own.

        Whether the request is recorded is decided here: one that creates no run takes nothing of its
        tenant's rate.
        """
        is_first, self._is_used = not self._is_used, True
        if _tracing is not None:
            if is_first and self._tenant is not None:
                is_recorded = _tracing.rates.take(self._tenant)
                self._context = TraceContext(self._context.trace_id, self._context.span_id, is_recorded)
            return self._context.traceparent
        if self._caller is not None and self._joins:
            return TraceContext(self._caller.trace_id, self._caller.span_id).traceparent
        return None

    def end(self, name: str, attributes: Mapping[str, Any], *, error: str | None = None) -> None:
        """Record the request, if it is to be."""
        if _tracing is None or not (self._context.is_recorded and self._is_used):
            return
        joined = self._caller if self._joins else None
        _record(
            Span(
                name,
                self._context,
                parent_id=joined.span_id if joined else None,
                kind=Kind.SERVER,
                started_at=self._started_at,
                ended_at=time.time_ns(),
                attributes={key: value for key, value in attributes.items() if value is not None},
                links=() if joined or self._caller is None else (self._caller,),
                error=error,
            )
        )


class Scope:
    """Where the spans of an attempt hang at the moment, and how many more there may be."""

    def __init__(self, context: TraceContext, counter: "list[int] | None" = None) -> None:
        self.context = context
        self._counter = [0] if counter is None else counter  # shared by all scopes of the attempt

    @property
    def dropped(self) -> int:
        """Spans beyond `MAX_SPANS`."""
        return max(0, self._counter[0] - MAX_SPANS)

    def traceparent(self) -> str | None:
        """What a run that is created here keeps."""
        return self.context.traceparent

    def take(self) -> bool:
        """Whether one more span may be recorded here."""
        if _tracing is None or not self.context.is_recorded:
            return False
        self._counter[0] += 1
        return self._counter[0] <= MAX_SPANS

    def below(self, context: TraceContext) -> "Scope":
        return Scope(context, self._counter)

    def record(
        self,
        name: str,
        started_at: int,
        *,
        ended_at: int | None = None,
        error: str | None = None,
        **attributes: Any,
    ) -> None:
        """Record a piece of work below this one that has ended, with attributes as `Span.set` takes them."""
        if self.take():
            span = Span(name, self.context.below(), self.context.span_id, started_at=started_at, error=error)
            span.set(**attributes)
            span.ended_at = max(started_at, ended_at or time.time_ns())
            _record(span)


_place: ContextVar[RequestTrace | Scope | None] = ContextVar("place_in_trace", default=None)


def enter(place: RequestTrace | Scope) -> Token[RequestTrace | Scope | None]:
    """Do what follows in this context below a place."""
    return _place.set(place)


def leave(token: Token[RequestTrace | Scope | None]) -> None:
    """Undo `enter`."""
    _place.reset(token)


def admit(tenant: uuid.UUID) -> None:
    """Say whose the present request is."""
    place = _place.get()
    if isinstance(place, RequestTrace):
        place.admit(tenant)


def current_scope() -> Scope | None:
    """Where spans of the present attempt hang; None outside an attempt."""
    place = _place.get()
    return place if isinstance(place, Scope) else None


def current_traceparent() -> str | None:
    """What a run that is created here and now keeps of its trace; None if it begins one of its own."""
    place = _place.get()
    return None if place is None else place.traceparent()


@contextmanager
def span(name: Callable[[], str] | str, *, kind: Kind = Kind.INTERNAL) -> Generator[Span | None]:
    """Record a block as a span below the present place; None where nothing is recorded.

    An exception that leaves the block ends the span with the name of its type.
    """
    place = _place.get()
    if not isinstance(place, Scope) or not place.take():
        yield None
        return
    context = place.context.below()
    measured = Span(name if isinstance(name, str) else name(), context, place.context.span_id, kind=kind)
    token = _place.set(place.below(context))
    try:
        yield measured
    except BaseException as error:
        measured.error = measured.error or type(error).__name__
        raise
    finally:
        _place.reset(token)
        measured.ended_at = time.time_ns()
        _record(measured)


class AttemptTrace:
    """The span of one attempt of a run. Whoever ends the attempt records it."""

    def __init__(self, run_id: uuid.UUID, attempt: int, traceparent: str | None) -> None:
        """Find the place of an attempt.

        Args:
            run_id: the run.
            attempt: the number of the attempt.
            traceparent: what the run has kept.
        """
        parent = TraceContext.parse(traceparent)
        trace_id = parent.trace_id if parent else run_id.hex
        is_recorded = _tracing is not None and (parent.is_recorded if parent else _is_chosen(run_id))
        self._parent_id = parent.span_id if parent else None
        self.scope = Scope(TraceContext(trace_id, span_id_of(run_id, attempt), is_recorded=is_recorded))
        self._before = (
            (TraceContext(trace_id, span_id_of(run_id, attempt - 1), is_recorded=is_recorded),)
            if attempt > 1
            else ()
        )

    @property
    def trace_id(self) -> str:
        return self.scope.context.trace_id

    @contextmanager
    def entered(self) -> Generator[None]:
        """Do a block, in this context, below the attempt."""
        token = _place.set(self.scope)
        try:
            yield
        finally:
            _place.reset(token)

    def waited(self, since: datetime, until: int) -> None:
        """Record how long the attempt was in the queue, by two clocks: it began to wait at `since`."""
        if self.scope.take():
            above = self._parent_id or self.scope.context.span_id
            started_at = min(until, int(since.timestamp() * 1e9))
            _record(Span("queue", self.scope.context.below(), above, started_at=started_at, ended_at=until))

    def end(self, started_at: int, *, error: str | None = None, **attributes: Any) -> None:
        """Record the attempt, which began at `started_at`; attributes as `Span.set` takes them."""
        if _tracing is None or not self.scope.context.is_recorded:
            return
        measured = Span(
            "run attempt",
            self.scope.context,
            self._parent_id,
            Kind.CONSUMER,
            started_at=started_at,
            links=self._before,
            error=error,
        )
        measured.set(runyard__spans_dropped=self.scope.dropped or None, **attributes)
        measured.ended_at = max(started_at, time.time_ns())
        _record(measured)


def _is_chosen(run_id: uuid.UUID) -> bool:
    """Whether a run without a place is recorded: all of its attempts, or none."""
    return _tracing is not None and (run_id.int & 0xFFFFFFFF) / 2**32 < _tracing.share


def _record(measured: Span) -> None:
    if _tracing is not None:
        _tracing.recorder.record(measured)
