"""The connections of a run to its model: shut when its token fires, closed at its end."""

import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, Final, Protocol

import httpx2

from worker.cancellation import CancelToken
from worker.executors.griptape.endpoint import refuse_failure

CONNECT_TIMEOUT: Final = 4.0
"""Seconds. A connection being made cannot be shut, so this is less than the grace of a cancelled run."""

WRITE_TIMEOUT: Final = 30.0  # seconds

_ESTABLISHED: Final = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")


class RedirectRefusedError(Exception):
    """A provider redirects a request to another address; the key is not sent there."""


def refuse_redirect(response: Any) -> None:
    """Refuse to follow a response of httpx or httpx2 to another scheme, host or port.

    The body of one that is followed is not read: the client would read one without end.

    Raises:
        RedirectRefusedError: naming the address.
    """
    if not response.has_redirect_location:
        return
    origin = response.request.url
    try:
        target = origin.join(response.headers["location"])
    except Exception as error:
        raise RedirectRefusedError("to an address that makes no sense") from error
    if (target.scheme, target.host, target.port) != (origin.scheme, origin.host, origin.port):
        port = "" if target.port is None else f":{target.port}"
        raise RedirectRefusedError(
            f"to {target.scheme}://{target.host[:MAX_HOST]}{port}, where the worker's key does not go"
        )
    response.close()
    response._content = b""  # noqa: SLF001  # what the client takes for a body that was read


MAX_HOST: Final = 255  # characters of a host's name that are quoted


class _Stream(Protocol):
    """A network stream of httpcore."""

    def get_extra_info(self, info: str) -> Any: ...


class ModelConnections:
    """Registers every connection of a run's HTTP clients.

    httpx and its successor httpx2 report each connection they establish to the request extension
    `trace`; a request hook sets it, so that proxies, certificates and retries work as ever.
    """

    def __init__(self, token: CancelToken, *, silence: float) -> None:
        self._token = token
        self._timeout = {"connect": CONNECT_TIMEOUT, "read": silence, "write": WRITE_TIMEOUT, "pool": None}
        self._streams: list[_Stream] = []
        self._is_shut = False
        self._lock = threading.Lock()
        self._closing = ExitStack()

    def client_options(self) -> dict[str, Any]:
        """Return the arguments for a client of httpx or httpx2."""
        return {
            "verify": ssl_context(),
            "event_hooks": {"request": [self._watch], "response": [refuse_redirect, refuse_failure]},
            "follow_redirects": True,  # within one address
            "trust_env": True,  # proxies
        }

    def http_client(self) -> httpx2.Client:
        """Make an HTTP client for this run alone."""
        client = httpx2.Client(**self.client_options())
        self.close_at_end(client.close)
        return client

    def close_at_end(self, close: Callable[[], object]) -> None:
        self._closing.callback(close)

    def drop(self) -> None:
        """Shut the open connections; new ones may follow."""
        with self._lock:
            streams, self._streams = self._streams, []
        for stream in streams:
            _shut(stream)

    def shut(self) -> None:
        """Shut every connection, so that a thread that reads from one of them returns at once."""
        with self._lock:
            self._is_shut = True
            streams = list(self._streams)
        for stream in streams:
            _shut(stream)

    def close(self) -> None:
        self._closing.close()

    def _watch(self, request: Any) -> None:
        self._token.raise_if_cancelled()
        request.extensions["trace"] = self._note
        request.extensions["timeout"] = dict(self._timeout)  # whatever the provider's library prefers

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith(_ESTABLISHED):
            return
        stream: _Stream = info["return_value"]
        with self._lock:
            self._streams.append(stream)
            is_shut = self._is_shut
        if is_shut:
            _shut(stream)


def _shut(stream: _Stream) -> None:
    connection = stream.get_extra_info("socket")
    with suppress(OSError):  # it was closed already, or TLS has put another socket in its place
        # Not the TLS socket's own shutdown: it would take the session from the thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


@cache
def ssl_context() -> ssl.SSLContext:
    """Return the SSL context of the process: reading the certificates takes tens of milliseconds."""
    return httpx2.create_ssl_context()


@contextmanager
def model_connections(token: CancelToken, *, silence: float) -> Generator[ModelConnections]:
    """Register the connections made during the block, and close them at its end.

    Args:
        token: shuts them when it fires.
        silence: seconds without a byte after which a provider is given up.
    """
    connections = ModelConnections(token, silence=silence)
    with token.on_cancel(connections.shut):
        try:
            yield connections
        finally:
            connections.close()
