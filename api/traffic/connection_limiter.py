"""The connection limiter: bounds the connections of the process and of each address."""

import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.cross_origin import CrossOrigin, Origins
from api.errors import Problem, Render
from api.middleware import PROBES, RequestIds, normal_path
from api.traffic import refusals
from api.traffic.callers import Proxies
from api.traffic.refusal_limiter import subscriber
from shared.settings import Settings

PROBE_CONNECTIONS: Final = 32
"""Connections beyond the limit. They get answers to probes only."""

OTHER_FILES: Final = 64
"""Open files other than connections of callers: Redis, listening sockets, modules being read."""

DEFAULT_CONNECTIONS: Final = 4096
MIN_CONNECTIONS: Final = 16
MAX_HELD_BODIES: Final = 48 * 1_048_576
"""Bytes of bodies that all connections hold before the application reads them."""

LOG_INTERVAL: Final = 10.0  # seconds between two lines about the same limit

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What the limiter needs of a connection."""

    @property
    def has_request(self) -> bool:
        """Whether it has a request in progress."""
        ...

    @property
    def held(self) -> int:
        """Bytes of bodies that have arrived and that the application has not read."""
        ...

    def abort(self) -> None:
        """Close it without an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one connection: sizes in bytes, durations in seconds."""

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


class ConnectionLimiter:
    """Bounds the connections of a process. Connections beyond the limit get answers to probes only.

    At most `PROBE_CONNECTIONS` are beyond the limit. A new one replaces the oldest one without a request,
    so idle connections never keep a probe out.
    """

    def __init__(self, settings: Settings, render_of: Callable[[str], Render]) -> None:
        """Make the limiter of a process.

        Args:
            settings: the limits.
            render_of: returns the error shape of a path.
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
        self._held = 0  # bytes; an upper bound

    def enter(self, connection: Connection, address: str) -> bool:
        """Count a connection; return whether it may send any request, rather than probes only."""
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
        if len(self._extra) >= PROBE_CONNECTIONS:
            idle = (extra for extra in self._extra if not extra.has_request)
            oldest = next(idle, next(iter(self._extra)))
            self.leave(oldest)
            oldest.abort()
        self._extra[connection] = None
        return False

    def leave(self, connection: Connection) -> None:
        """Stop counting a connection. An unknown one is ignored."""
        self._extra.pop(connection, None)
        whose = self._ordinary.pop(connection, None)
        if whose is not None:
            self._of_address[whose] -= 1
            if self._of_address[whose] == 0:
                del self._of_address[whose]

    def has_room_for(self, size: int) -> bool:
        """Whether a connection may hold `size` bytes of a body until the application reads it.

        The sum of all connections only grows; it is computed anew when it exceeds the limit.
        """
        self._held += size
        if self._held > MAX_HELD_BODIES:
            self._held = sum(connection.held for connection in (*self._ordinary, *self._extra))
        if self._held <= MAX_HELD_BODIES:
            return True
        self._turn_away("too many bodies wait to be read", limit=MAX_HELD_BODIES)
        return False

    def probes_only(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application for a connection beyond the limit: it answers probes and refuses the rest."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            answering = app
            if not self.path_of(scope["path"]).startswith(PROBES):
                refusal = self.rendered(refusals.NO_ROOM, scope["path"])
                answering = RequestIds(CrossOrigin(refusal, origins=self.origins))
            await answering(scope, receive, send)

        return answer

    def path_of(self, path: str) -> str:
        """Return the normal form of a path."""
        return normal_path(path, root_path=self._root_path)

    def rendered(self, problem: Problem, path: str) -> Response:
        """Render a problem in the dialect of the requested path."""
        return self._render_of(self.path_of(path))(problem)

    def _turn_away(self, what: str, **context: object) -> None:
        self._turned_away += 1
        now = time.monotonic()
        if now - self._logged_at.get(what, -LOG_INTERVAL) >= LOG_INTERVAL:
            log.warning(what, **context, open=len(self._ordinary), turned_away=self._turned_away)
            self._logged_at[what] = now
            self._turned_away = 0


def connections_by_default(settings: Settings) -> int:
    """Return the connections that the limit of open files leaves, at most `DEFAULT_CONNECTIONS`."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return DEFAULT_CONNECTIONS
    reserved = OTHER_FILES + settings.database_pool + PROBE_CONNECTIONS
    return max(MIN_CONNECTIONS, min(DEFAULT_CONNECTIONS, files - reserved))
