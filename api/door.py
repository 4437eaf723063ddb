"""How many connections a process has, from where, and what is said to those beyond that."""

import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.callers import Proxies
from api.cross_origin import CrossOrigin, Origins
from api.errors import Problem, Render, of_domain, problem
from api.middleware import PROBES, normal_path
from api.pacing import subscriber
from shared.errors import OverloadedError
from shared.settings import Settings

PROBE_CONNECTIONS: Final = 32
"""Connections beyond the limit, on which nothing but probes is answered."""

OTHER_FILES: Final = 64
"""Open files that are no connections of callers: Redis, sockets that listen, modules being read."""

MOST_BY_DEFAULT: Final = 4096
FEWEST: Final = 16
MOST_HELD: Final = 48 * 1_048_576
"""Bytes of bodies that connections hold before anybody has asked for them."""

LOG_PAUSE: Final = 10.0  # seconds between two lines about the same limit

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What the door asks of a connection."""

    @property
    def has_request(self) -> bool:
        """Whether a request on it is being answered."""
        ...

    @property
    def held(self) -> int:
        """Bytes of bodies on it that nobody has asked for yet."""
        ...

    def abort(self) -> None:
        """Close it without a word."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may send, and how long it may take; durations in seconds."""

    url_bytes: int
    header_bytes: int
    headers: int
    header_timeout: float
    body_timeout: float
    body_rate: int
    write_timeout: float
    keep_alive: float

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            url_bytes=settings.max_url_bytes,
            header_bytes=settings.max_header_bytes,
            headers=settings.max_headers,
            header_timeout=settings.header_timeout.total_seconds(),
            body_timeout=settings.body_timeout.total_seconds(),
            body_rate=settings.body_rate,
            write_timeout=settings.write_timeout.total_seconds(),
            keep_alive=settings.keep_alive.total_seconds(),
        )


class Door:
    """All connections of a process: it counts them, and lets those beyond the limit ask for probes only.

    Of these there are a few at the most; when they are used up, the oldest one on which no request has come
    is closed for the newest. So whoever holds every connection without a word does not keep a probe out.
    """

    def __init__(self, settings: Settings, render_of: Callable[[str], Render]) -> None:
        """Make the door of a process.

        Args:
            settings: the limits.
            render_of: the way to answer those who asked for a path.
        """
        self.limits = Limits.of(settings)
        self.origins = Origins.of(settings)
        self._render_of = render_of
        self._root_path = settings.root_path
        self._proxies = Proxies.of(settings)
        self.most = settings.max_connections or connections_by_default(settings)
        self.most_of_address = settings.max_address_connections or max(1, self.most * 3 // 4)
        self._ordinary: dict[Connection, str] = {}
        self._extra: dict[Connection, None] = {}
        self._of_address: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}
        self._turned_away = 0
        self._held = 0  # bytes, at the most

    def enter(self, connection: Connection, address: str) -> bool:
        """Count a connection; return whether it may ask for anything, as opposed to probes only."""
        whose = subscriber(address)
        if len(self._ordinary) >= self.most:
            self._turn_away("the limit of connections is reached", limit=self.most)
        elif self._of_address[whose] >= self.most_of_address and not self._proxies.has(address):
            limit = self.most_of_address
            self._turn_away("an address has reached its limit of connections", limit=limit, address=whose)
        else:
            self._ordinary[connection] = whose
            self._of_address[whose] += 1
            return True
        self._make_room()
        self._extra[connection] = None
        return False

    def leave(self, connection: Connection) -> None:
        """Forget a connection; one that is not known is none."""
        self._extra.pop(connection, None)
        whose = self._ordinary.pop(connection, None)
        if whose is not None:
            self._of_address[whose] -= 1
            if self._of_address[whose] == 0:
                del self._of_address[whose]

    def has_room_for(self, size: int) -> bool:
        """Whether a connection may hold so many bytes of a body until somebody asks for it.

        What all of them hold is counted up, and anew only when that seems to be too much.
        """
        self._held += size
        if self._held > MOST_HELD:
            self._held = sum(connection.held for connection in (*self._ordinary, *self._extra))
        if self._held <= MOST_HELD:
            return True
        self._turn_away("too many bodies wait to be read", limit=MOST_HELD)
        return False

    def probes_only(self, app: ASGIApp) -> ASGIApp:
        """The application, as those see it who came too late."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if self.path_of(scope["path"]).startswith(PROBES):
                await app(scope, receive, send)
            else:
                await refuse(scope, receive, send)

        async def no(scope: Scope, receive: Receive, send: Send) -> None:
            await self.rendered(no_room(), scope["path"])(scope, receive, send)

        refuse = CrossOrigin(no, origins=self.origins)
        return answer

    def path_of(self, path: str) -> str:
        """What a path means here."""
        return normal_path(path, root_path=self._root_path)

    def rendered(self, problem: Problem, path: str) -> Response:
        """A problem in the dialect of the path that was asked for."""
        return self._render_of(self.path_of(path))(problem)

    def _make_room(self) -> None:
        if len(self._extra) < PROBE_CONNECTIONS:
            return
        oldest = next(
            (connection for connection in self._extra if not connection.has_request), next(iter(self._extra))
        )
        self.leave(oldest)
        oldest.abort()

    def _turn_away(self, what: str, **context: object) -> None:
        self._turned_away += 1
        now = time.monotonic()
        if now - self._logged_at.get(what, -LOG_PAUSE) >= LOG_PAUSE:
            log.warning(what, **context, open=len(self._ordinary), turned_away=self._turned_away)
            self._logged_at[what] = now
            self._turned_away = 0


def connections_by_default(settings: Settings) -> int:
    """As many as the limit of open files leaves, up to some thousands."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_BY_DEFAULT
    reserved = OTHER_FILES + settings.database_pool + PROBE_CONNECTIONS
    return max(FEWEST, min(MOST_BY_DEFAULT, files - reserved))


def no_room() -> Problem:
    """What those are told for whom there is no connection."""
    return of_domain(OverloadedError("There are too many connections; ask again."))


def no_memory() -> Problem:
    """What those are told whose body came while too much is held of others'."""
    return of_domain(OverloadedError("Too many bodies wait to be read; ask again."))


def slow() -> Problem:
    """What those are told who take too long to send a request."""
    return problem(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.")


def malformed() -> Problem:
    return problem(HTTPStatus.BAD_REQUEST, "This is not a valid HTTP request.")


def url_too_long(limit: int) -> Problem:
    return problem(HTTPStatus(414), f"The URL is longer than {limit} bytes.")


def headers_too_large(limits: Limits) -> Problem:
    return problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"A request has {limits.headers} headers of {limits.header_bytes} bytes together at the most.",
    )


def framing_too_large(limits: Limits) -> Problem:
    return problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"Trailers and extensions of chunks have {limits.header_bytes} bytes at the most.",
    )


def too_far_ahead() -> Problem:
    return problem(HTTPStatus.TOO_MANY_REQUESTS, "Too much is sent on this connection before it is answered.")
