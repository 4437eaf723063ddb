"""HTTP as it comes from strangers: the server's protocol, with limits on what is sent and how slowly."""

from enum import Enum, auto
from typing import Any, ClassVar, Final

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api import door
from api.cross_origin import ORIGIN, encoded
from api.door import Door
from api.errors import Problem
from api.middleware import LOGGED_PATH

PIECE: Final = 8192
"""Bytes that are parsed at a time; a limit is noticed at the end of a piece."""

MAX_AHEAD: Final = 16
"""Requests that may be sent on a connection before an earlier one has been answered."""

MAX_HELD_BODY: Final = 1_048_576
"""Bytes of a body that nobody has asked for; reading is paused long before."""

FREELY_HELD: Final = 4096
"""Bytes of a body that nobody has asked for and every connection may have."""

MAX_UNWANTED: Final = 262_144
"""Bytes of a body that may still come when its request has been answered; the connection is kept."""

LINGER: Final = 2.0
"""Seconds in which what still comes is thrown away, so that the other side gets to read its answer."""

PROBE_TIMEOUT: Final = 2.0  # seconds for the headers of a probe, when only probes are answered

log = structlog.get_logger(__name__)


class Stage(Enum):
    """What of a request is expected next."""

    NOTHING = auto()  # its first byte
    HEAD = auto()
    BODY = auto()
    REFUSED = auto()  # whatever comes is thrown away


class GuardedProtocol(HttpToolsProtocol):
    """One connection. What it sends is bounded before any of it reaches the application.

    Bounded are the bytes of a URL, of headers and their number, of trailers and extensions of chunks, the
    requests sent ahead, and the time for each: to the first byte, to the end of the headers, between two
    pieces of a body and for all of it, without a reader taking anything, and between two requests. What is
    beyond is answered in the shape of the dialect whose path was asked for, after what was asked before,
    and the connection is closed. `sweep` is to be called every second or so.
    """

    door: ClassVar[Door]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self.headers = []
        self._limits = self.door.limits
        self._running: RequestResponseCycle | None = None
        self._stage = Stage.NOTHING
        self._is_ordinary = True
        self._fault: Problem | None = None  # found while parsing, answered after the piece
        self._refusal: Problem | None = None  # to be answered after earlier requests
        self._left: float | None = None  # seconds until something has to have come
        self._head = 0  # bytes of the head so far
        self._body = 0  # bytes of the body so far
        self._framing = 0  # bytes since there was one of the body
        self._unwanted = 0  # bytes of a body whose request is answered
        self._receiving = 0.0  # seconds in which a body could have come
        self._silent = 0.0  # seconds since some of it has
        self._unsent = 0  # bytes in the send buffer at the last sweep
        self._stalled = 0.0  # seconds since the reader took some of them

    @property
    def has_request(self) -> bool:
        """Whether a request is being answered."""
        return self._running is not None and not self._running.response_complete

    @property
    def held(self) -> int:
        """Bytes of bodies that have come and that the application has not asked for yet."""
        cycles = [cycle for cycle, _ in self.pipeline]
        return sum(len(cycle.body) for cycle in (*cycles, self._running) if cycle is not None)

    def abort(self) -> None:
        """Close the connection without a word."""
        self.transport.abort()

    # What the transport tells

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._is_ordinary = self.door.enter(self, self.client[0] if self.client else "")
        if not self._is_ordinary:
            self.app = self.door.probes_only(self.app)
        self._expect(self._limits.header_timeout if self._is_ordinary else PROBE_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.leave(self)
        self._left = None
        if self._running is not None:  # which is not the latest, if more was sent ahead
            _disconnect(self._running)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        for start in range(0, len(data), PIECE):
            if self._stage is Stage.REFUSED or self.transport.is_closing():
                return
            self._parse(data[start : start + PIECE])
        if self.has_request:
            self._hold_back()

    def resume_writing(self) -> None:
        self._stalled = 0.0
        super().resume_writing()

    # What the parser tells; after a fault it is not listened to

    def on_message_begin(self) -> None:
        if self._fault is None:
            super().on_message_begin()
            self._stage = Stage.HEAD
            self._head = self._body = self._framing = self._unwanted = 0
            self._receiving = self._silent = 0.0
            self._expect(self._limits.header_timeout if self._is_ordinary else PROBE_TIMEOUT)

    def on_url(self, url: bytes) -> None:
        if self._fault is None:
            super().on_url(url)
            if len(self.url) > self._limits.url_bytes:
                self._fault = door.url_too_long(self._limits.url_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage is not Stage.HEAD:
            return  # a trailer is no header, and nobody here knows one
        if self._fault is not None and name.lower() != ORIGIN:
            return  # of what is refused, only this has to do with the answer
        super().on_header(name, value)
        if len(self.headers) > self._limits.headers:
            self._fault = self._fault or door.headers_too_large(self._limits)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.header_bytes:
            self._fault = self._fault or door.headers_too_large(self._limits)
        if len(self.pipeline) >= MAX_AHEAD:
            self._fault = self._fault or door.too_far_ahead()
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
                self._fault = door.too_far_ahead()

    def on_message_complete(self) -> None:
        if self._fault is None:
            super().on_message_complete()
            self._stage = Stage.NOTHING
            if not self.has_request:
                self._expect(self._limits.keep_alive)

    # What the server tells

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or self.has_request:
            return
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._stage is Stage.BODY:
            self._expect(LINGER)
        elif self._stage is Stage.NOTHING:
            self._expect(self._limits.keep_alive)

    def sweep(self, seconds: float) -> None:
        """Look at the clocks.

        Args:
            seconds: since the last time.
        """
        if self._is_stalled(seconds):
            log.info("connection closed: its reader takes nothing", client=self.client)
            self.abort()
        elif self._left is not None:
            if not self.flow.read_paused:  # else it could not have sent anything
                self._left -= seconds
            if self._left < 0:
                self._expire()
        elif self._stage is Stage.BODY and self.has_request and self._is_slow(seconds):
            self._refuse(door.slow())

    def _hold_back(self) -> None:
        """Read no more of a body until it is asked for; refuse it if too much is held for others already."""
        if self._stage is Stage.BODY and self._running is self.cycle:
            self.flow.pause_reading()
        held = self.held
        if held > FREELY_HELD and self._stage is not Stage.REFUSED and not self.door.has_room_for(held):
            for cycle, _ in self.pipeline:
                cycle.body.clear()
            self._refuse(door.no_memory())

    def _parse(self, piece: bytes) -> None:
        if self._stage is Stage.BODY:
            self._framing += len(piece)
        rest = piece
        try:
            while rest:
                rest = self._parse_to_upgrade(rest)
        except httptools.HttpParserError:
            self._fault = self._fault or door.malformed()
        self._measure(len(piece))
        if self._fault is not None:
            self._refuse(self._fault)

    def _parse_to_upgrade(self, piece: bytes) -> bytes:
        """Parse; return what comes after a wish for another protocol, which is not granted."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            end: int = upgrade.args[0]
            return piece[end:]
        return b""

    def _measure(self, size: int) -> None:
        """Count what was parsed, by what it turned out to be."""
        limits = self._limits
        if self._stage is Stage.HEAD:
            self._head += size
            if self._head > limits.header_bytes + PIECE:  # a piece may have begun with something else
                self._fault = self._fault or door.headers_too_large(limits)
        elif self._stage is Stage.BODY:
            if self._framing > limits.header_bytes:
                self._fault = self._fault or door.framing_too_large(limits)
            if not self.has_request:
                self._unwanted += size
                if self._unwanted > MAX_UNWANTED:
                    self._hang_up()

    def _refuse(self, problem: Problem) -> None:
        """Answer nothing but this from now on: at once, or after what was asked before."""
        if self._stage is Stage.REFUSED:
            return
        is_begun = self._stage is Stage.BODY  # the application may know of the request already
        self._stage, self._left, self._refusal = Stage.REFUSED, None, problem
        self._unset_keepalive_if_required()
        path = self.door.path_of(self._path())[:LOGGED_PATH]
        log.info("request refused", status=problem.status, path=path, client=self.client)
        if is_begun and self._running is self.cycle:
            self._cut_off(self.cycle, problem)
        elif self.has_request:
            if is_begun:
                self.pipeline.popleft()
        else:
            self._answer(problem)

    def _cut_off(self, cycle: RequestResponseCycle, problem: Problem) -> None:
        """Refuse a request that is being answered."""
        if cycle.response_complete:
            self._hang_up()
        elif cycle.response_started:
            self.abort()  # half an answer is out
        else:
            cycle.body.clear()  # whoever waits with it does not know yet
            _disconnect(cycle)
            self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        response = self.door.rendered(problem, self._path())
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            *encoded(self.door.origins.headers_for(self.headers)),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + response.body)
        self._hang_up()

    def _hang_up(self) -> None:
        """Say no more; a connection that is closed before all is read would take the answer with it."""
        self._stage, self._refusal = Stage.REFUSED, None
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expect(LINGER)

    def _expire(self) -> None:
        if self._stage is Stage.HEAD:
            self._refuse(door.slow())
        elif self._stage is Stage.BODY:
            self._hang_up()
        elif self._stage is Stage.REFUSED:
            if self._unsent == 0:  # else its reader gets what it has asked for before
                self.abort()
        else:
            self._left = None
            self.transport.close()  # what its reader has not taken yet is still sent

    def _is_slow(self, seconds: float) -> bool:
        """Whether a body that could come comes too slowly."""
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            return False
        self._receiving += seconds
        self._silent += seconds
        limits = self._limits
        is_behind = self._body < limits.body_rate * self._receiving
        return self._silent > limits.body_timeout or (is_behind and self._receiving > limits.body_timeout)

    def _is_stalled(self, seconds: float) -> bool:
        """Whether the reader has taken nothing of what is sent to it, for too long."""
        unsent = self.transport.get_write_buffer_size()
        is_moving = unsent == 0 or unsent < self._unsent
        self._stalled = 0.0 if is_moving else self._stalled + seconds
        self._unsent = unsent
        return self._stalled > self._limits.write_timeout

    def _expect(self, seconds: float) -> None:
        self._left = seconds

    def _path(self) -> str:
        return self.url.partition(b"?")[0].decode("latin-1")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: whoever asks for another protocol is answered in this one, as HTTP wants it."""


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Tell the application that nobody reads its answer."""
    cycle.disconnected = True
    cycle.message_event.set()


def protocol_for(entrance: Door) -> type[GuardedProtocol]:
    """The protocol of the connections that come through a door."""

    class Protocol(GuardedProtocol):
        door = entrance

    return Protocol
