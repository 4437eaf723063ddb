"""The HTTP protocol of a connection: uvicorn's, with limits on sizes and times."""

from enum import Enum, auto
from typing import Any, ClassVar, Final

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.cross_origin import ORIGIN, encoded
from api.errors import Problem
from api.middleware import LOGGED_PATH, REQUEST_ID, request_id_of
from api.traffic import refusals
from api.traffic.connection_limiter import ConnectionLimiter

PIECE: Final = 8192
"""Bytes that are parsed at a time. Limits are checked at the end of a piece."""

MAX_AHEAD: Final = 16
"""Requests that a connection may send before an earlier one is answered."""

MAX_HELD_BODY: Final = 1_048_576
"""Unread bytes of one body. Reading pauses long before."""

FREELY_HELD: Final = 4096
"""Unread bytes of a body that every connection may hold."""

MAX_UNWANTED: Final = 262_144
"""Bytes of a body that may still arrive after its request is answered; the connection stays open."""

LINGER_TIMEOUT: Final = 2.0
"""Seconds for which incoming bytes are discarded, so that the other side can read its answer."""

ANSWERED: Final = (ORIGIN, REQUEST_ID.encode())
"""Headers that a refusal of the connection answers."""

PROBE_TIMEOUT: Final = 2.0  # seconds for the headers of a probe, on a connection beyond the limit

log = structlog.get_logger(__name__)


class Stage(Enum):
    """The part of a request that comes next."""

    NOTHING = auto()  # its first byte
    HEAD = auto()
    BODY = auto()
    REFUSED = auto()  # all incoming bytes are discarded


class GuardedProtocol(HttpToolsProtocol):
    """One connection. It checks all limits before the application sees a request.

    Limits of size: the URL, the headers and their number, trailers and extensions of chunks, requests sent
    ahead. Limits of time: to the first byte, to the end of the headers, between two pieces of a body, for
    the whole body, for a reader that takes nothing, and between two requests. A request beyond a limit is
    answered in the dialect of its path, after all earlier requests; then the connection is closed. The
    server calls `sweep` about every second.
    """

    limiter: ClassVar[ConnectionLimiter]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self.headers = []
        self._limits = self.limiter.limits
        self._running: RequestResponseCycle | None = None
        self._stage = Stage.NOTHING
        self._is_ordinary = True
        self._fault: Problem | None = None  # found while parsing; answered at the end of the piece
        self._refusal: Problem | None = None  # to answer after earlier requests
        self._refused_id = ""  # of the request that is refused
        self._left: float | None = None  # seconds until the next bytes must have arrived
        self._head = 0  # bytes of the head so far
        self._body = 0  # bytes of the body so far
        self._framing = 0  # bytes since the last byte of the body
        self._unwanted = 0  # bytes of a body after the answer to its request
        self._receiving = 0.0  # seconds in which the body could arrive
        self._silent = 0.0  # seconds since the last bytes of the body
        self._unsent = 0  # bytes in the send buffer at the last sweep
        self._stalled = 0.0  # seconds since the reader took any of them

    @property
    def has_request(self) -> bool:
        """Whether a request is in progress."""
        return self._running is not None and not self._running.response_complete

    @property
    def held(self) -> int:
        """Bytes of bodies that have arrived and that the application has not read."""
        cycles = [cycle for cycle, _ in self.pipeline]
        return sum(len(cycle.body) for cycle in (*cycles, self._running) if cycle is not None)

    def abort(self) -> None:
        """Close the connection without an answer."""
        self.transport.abort()

    # Callbacks of the transport

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._is_ordinary = self.limiter.enter(self, self.client[0] if self.client else "")
        if not self._is_ordinary:
            self.app = self.limiter.probes_only(self.app)
        self._left = self._limits.header_timeout if self._is_ordinary else PROBE_TIMEOUT

    def connection_lost(self, exc: Exception | None) -> None:
        self.limiter.leave(self)
        self._left = None
        if self._running is not None:  # not the latest request, if more were sent ahead
            _disconnect(self._running)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        for start in range(0, len(data), PIECE):
            if self._stage is Stage.REFUSED or self.transport.is_closing():
                return
            self._parse(data[start : start + PIECE])
        if not self.has_request:
            return
        if self._stage is Stage.BODY and self._running is self.cycle:
            self.flow.pause_reading()  # until the application reads the body
        held = self.held
        if held > FREELY_HELD and self._stage is not Stage.REFUSED and not self.limiter.has_room_for(held):
            for cycle, _ in self.pipeline:
                cycle.body.clear()
            self._refuse(refusals.NO_MEMORY)

    def resume_writing(self) -> None:
        self._stalled = 0.0
        super().resume_writing()

    # Callbacks of the parser; after a fault they are ignored

    def on_message_begin(self) -> None:
        if self._fault is None:
            super().on_message_begin()
            self._stage = Stage.HEAD
            self._head = self._body = self._framing = self._unwanted = 0
            self._receiving = self._silent = 0.0
            self._left = self._limits.header_timeout if self._is_ordinary else PROBE_TIMEOUT

    def on_url(self, url: bytes) -> None:
        if self._fault is None:
            super().on_url(url)
            if len(self.url) > self._limits.url_bytes:
                self._fault = refusals.url_too_long(self._limits.url_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage is not Stage.HEAD:
            return  # trailers are not read
        if self._fault is not None and name.lower() not in ANSWERED:
            return  # a refusal needs no other header
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            self._fault = self._fault or refusals.headers_too_large(
                self._limits.headers, self._limits.header_bytes
            )

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.header_bytes:
            self._fault = self._fault or refusals.headers_too_large(
                self._limits.headers, self._limits.header_bytes
            )
        if len(self.pipeline) >= MAX_AHEAD:
            self._fault = self._fault or refusals.TOO_FAR_AHEAD
        if self._fault is None:
            super().on_headers_complete()
            self._stage = Stage.BODY
            self._left = None
            if not self._is_ordinary:
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._fault is None:
            self._body += len(body)
            self._framing = 0
            self._silent = 0.0
            super().on_body(body)
            if len(self.cycle.body) > MAX_HELD_BODY:
                self._fault = refusals.TOO_FAR_AHEAD

    def on_message_complete(self) -> None:
        if self._fault is None:
            super().on_message_complete()
            self._stage = Stage.NOTHING
            if not self.has_request:
                self._left = self._limits.keep_alive

    # Callbacks of the server

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or self.has_request:
            return
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._stage is Stage.BODY:
            self._left = LINGER_TIMEOUT
        elif self._stage is Stage.NOTHING:
            self._left = self._limits.keep_alive

    def sweep(self, seconds: float) -> None:
        """Check the limits of time.

        Args:
            seconds: the time since the last sweep.
        """
        if self._is_stalled(seconds):
            log.info("connection closed: its reader takes nothing", client=self.client)
            self.abort()
        elif self._left is not None:
            if not self.flow.read_paused:  # else nothing could arrive
                self._left -= seconds
            if self._left >= 0:
                return
            if self._stage is Stage.HEAD:
                self._refuse(refusals.SLOW)
            elif self._stage is Stage.BODY:
                self._hang_up()
            elif self._stage is Stage.NOTHING:
                self._left = None
                self.transport.close()  # after the bytes that its reader has not taken yet
            elif self._unsent == 0:  # else the reader gets the answers to its earlier requests
                self.abort()
        elif self._stage is Stage.BODY and self.has_request and self._is_slow(seconds):
            self._refuse(refusals.SLOW)

    def _parse(self, piece: bytes) -> None:  # a count for each stage
        """Parse a piece, count its bytes by the stage it ends in, and refuse the request after a fault."""
        if self._stage is Stage.BODY:
            self._framing += len(piece)
        rest = piece
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                    break
                except httptools.HttpParserUpgrade as upgrade:  # not granted; parse the bytes after it
                    rest = rest[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._fault = self._fault or refusals.MALFORMED
        limits = self._limits
        if self._stage is Stage.HEAD:
            self._head += len(piece)
            if self._head > limits.header_bytes + PIECE:  # a piece may begin with the end of a body
                self._fault = self._fault or refusals.headers_too_large(limits.headers, limits.header_bytes)
        elif self._stage is Stage.BODY:
            if self._framing > limits.header_bytes:
                self._fault = self._fault or refusals.framing_too_large(limits.header_bytes)
            if not self.has_request:
                self._unwanted += len(piece)
                if self._unwanted > MAX_UNWANTED:
                    self._hang_up()
        if self._fault is not None:
            self._refuse(self._fault)

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, at once or after the earlier requests, and answer nothing after it."""
        if self._stage is Stage.REFUSED:
            return
        is_begun = self._stage is Stage.BODY  # the application may have the request already
        self._stage, self._left, self._refusal = Stage.REFUSED, None, problem
        self._unset_keepalive_if_required()
        path = self.limiter.path_of(self._path())[:LOGGED_PATH]
        request_id = self._refused_id = request_id_of(self.headers)
        log.info(
            "request refused", status=problem.status, path=path, client=self.client, request_id=request_id
        )
        if not (is_begun and self._running is self.cycle):
            if not self.has_request:
                self._answer(problem)
            elif is_begun:
                self.pipeline.popleft()
        elif self.cycle.response_complete:
            self._hang_up()
        elif self.cycle.response_started:
            self.abort()  # half an answer is out
        else:
            self.cycle.body.clear()  # the application has not read it yet
            _disconnect(self.cycle)
            self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        response = self.limiter.rendered(problem, self._path())
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (REQUEST_ID.encode(), self._refused_id.encode()),
            *encoded(self.limiter.origins.headers_for(self.headers)),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + response.body)
        self._hang_up()

    def _hang_up(self) -> None:
        """Send nothing more, and linger: a close before all bytes are read would destroy the answer."""
        self._stage, self._refusal = Stage.REFUSED, None
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._left = LINGER_TIMEOUT

    def _is_slow(self, seconds: float) -> bool:
        """Whether a body arrives too slowly while the connection is read."""
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            return False
        self._receiving += seconds
        self._silent += seconds
        limits = self._limits
        is_behind = self._body < limits.body_rate * self._receiving
        return self._silent > limits.body_timeout or (is_behind and self._receiving > limits.body_timeout)

    def _is_stalled(self, seconds: float) -> bool:
        """Whether the reader has taken none of the unsent bytes for too long."""
        unsent = self.transport.get_write_buffer_size()
        is_moving = unsent == 0 or unsent < self._unsent
        self._stalled = 0.0 if is_moving else self._stalled + seconds
        self._unsent = unsent
        return self._stalled > self._limits.write_timeout

    def _path(self) -> str:
        return self.url.partition(b"?")[0].decode("latin-1")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: HTTP allows to answer a request for another protocol in this one."""


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Tell the application that its caller has left."""
    cycle.disconnected = True
    cycle.message_event.set()


def protocol_for(limiter_of_process: ConnectionLimiter) -> type[GuardedProtocol]:
    """Make the protocol class of the connections that a limiter counts."""

    class Protocol(GuardedProtocol):
        limiter = limiter_of_process

    return Protocol
