"""The exporter: serves a process' metrics on a port of their own, from threads that delay nobody.

Scrapers cannot harm the process: few connections at once, each of them short, and answers that are made
once a second at the most.
"""

import hmac
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from shared.contradictions import open_metrics
from shared.errors import RunyardError
from shared.processes.metrics import Source
from shared.processes.ports import CannotListenError
from shared.settings import Settings

PATH: Final = "/metrics"
MAX_CONNECTIONS: Final = 8
"""Connections at once; one more is closed."""

CONNECTION_TIMEOUT: Final = 10.0  # seconds from the first to the last byte of a connection
CHECK_INTERVAL: Final = 0.5  # seconds between two looks at the connections whose time may be up
TIDY_INTERVAL: Final = 5.0  # seconds
ANSWER_TTL: Final = 1.0  # seconds for which an answer is good for others, too
RESTART_PAUSE: Final = 1.0  # seconds

log = structlog.get_logger(__name__)


class MetricsUnprotectedError(RunyardError):
    """Strangers could read the metrics."""


def is_allowed(authorization: str, token: str | None) -> bool:
    """Whether an `Authorization` header has the token. Without a token, all may read."""
    if token is None:
        return True
    scheme, _, given = authorization.partition(" ")
    is_same = hmac.compare_digest(given.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and is_same


def token_of(settings: Settings) -> str | None:
    """The token that scrapers need, if there is one."""
    return settings.metrics_token.get_secret_value() if settings.metrics_token else None


class Answers:
    """The answers to scrapes; scrapers that come together share one."""

    def __init__(self, source: Source, *, ttl: float = ANSWER_TTL) -> None:
        self._source = source
        self._ttl = ttl
        self._lock = threading.Lock()
        self._body = b""
        self._made_at = float("-inf")

    def get(self) -> bytes:
        """Return an answer that is at most a second old."""
        with self._lock:
            if time.monotonic() - self._made_at >= self._ttl:
                self._body = self._source.render()
                self._made_at = time.monotonic()
            return self._body


class Exporter:
    """A server for one source. It dies with the process; nothing waits for it."""

    def __init__(
        self,
        listener: socket.socket,
        source: Source,
        *,
        token: str | None = None,
        timeout: float = CONNECTION_TIMEOUT,
    ) -> None:
        """Make an exporter; `start` starts it.

        Args:
            listener: a socket that listens (`listen`).
            source: what it shows.
            token: what scrapers have to send, if anything.
            timeout: seconds for a connection from its first to its last byte.
        """
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._source = source
        self._server = _Server(listener, Answers(source), token=token, timeout=timeout)
        self._is_closed = threading.Event()

    def start(self) -> None:
        """Serve in a thread. If serving fails, it is logged and begun anew."""
        log.info("metrics", address=self.address)
        threading.Thread(target=self._run, name="metrics", daemon=True).start()
        threading.Thread(target=self._tidy, name="metrics-tidy", daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._is_closed.set()
        self._server.shutdown()
        self._server.server_close()

    def _run(self) -> None:
        self._watched("exporter", lambda: self._server.serve_forever(CHECK_INTERVAL))

    def _tidy(self) -> None:
        def tidy() -> None:
            while not self._is_closed.wait(TIDY_INTERVAL):
                self._source.tidy()

        self._watched("tidying", tidy)

    def _watched(self, part: str, work: Callable[[], object]) -> None:
        while not self._is_closed.is_set():
            try:
                work()
            except Exception:
                log.exception("metrics failed, and are begun anew", part=part)
                self._is_closed.wait(RESTART_PAUSE)


def listen(settings: Settings) -> socket.socket | None:
    """Take the port of the metrics; None if the settings want none.

    Raises:
        MetricsUnprotectedError: strangers could read them.
        CannotListenError: the port cannot be had.
    """
    if settings.metrics_port is None:
        return None
    host, port = settings.metrics_host, settings.metrics_port
    if refusal := open_metrics(settings):
        raise MetricsUnprotectedError(refusal)
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise CannotListenError("The metrics", host, port, error) from error


class _Server(HTTPServer):
    """Serves each connection in a thread; closes those that take too long."""

    def __init__(
        self, listener: socket.socket, answers: Answers, *, token: str | None, timeout: float
    ) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.answers = answers
        self.token = token
        self._limit = timeout
        self._open: dict[socket.socket, float] = {}
        self._changing = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            has_room = len(self._open) < MAX_CONNECTIONS
            if has_room:
                self._open[request] = time.monotonic()
        if not has_room:
            self.shutdown_request(request)
            return
        request.settimeout(self._limit)
        threading.Thread(
            target=self._serve, args=(request, client_address), name="metrics-scrape", daemon=True
        ).start()

    def service_actions(self) -> None:
        """Break connections whose time is up; called every `CHECK_INTERVAL`."""
        now = time.monotonic()
        with self._changing:
            late = [request for request, since in self._open.items() if now - since > self._limit]
        for request in late:
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("scrape ended already", error=str(error))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log why a connection was not served: the process may have no more threads."""
        del request
        log.exception("scrape not served", peer=client_address)  # noqa: LOG004  # its caller handles one

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError as error:  # the scraper has left, or was too slow
            log.info("scrape broken off", error=str(error))
        except Exception:
            log.exception("scrape failed")
        finally:
            with self._changing:
                del self._open[request]
            self.shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request, and closes the connection."""

    server: _Server
    server_version = "runyard"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        if not is_allowed(self.headers.get("Authorization", ""), self.server.token):
            self.send_response(HTTPStatus.UNAUTHORIZED)
            self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.server.answers.get()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        log.debug("scrape", said=format % args)
